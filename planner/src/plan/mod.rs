//! The plan: what to do with the money, why, and what was not chosen.

mod assessed;
mod explained;
mod json;
mod own_runs;
mod recipe;
mod retrieval;
mod table;
mod text;

use crate::law::Evidence;
use crate::recipe::{ImageReduction, Recipe};
use crate::search::{Candidate, Request};
use crate::units::Usd;

pub use self::assessed::{assessments_json, assessments_text};
pub use self::own_runs::OwnRunsEffect;
pub use self::recipe::recipe_of;

/// Version of the JSON form.
pub const PLAN_VERSION: u32 = 1;
/// Schema of the JSON form.
pub const PLAN_SCHEMA: &str = "shoestring.plan";

/// What to do with the money.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What was asked.
    pub request: Request,
    /// The (first) budget.
    pub budget: Usd,
    /// The plan itself.
    pub chosen: Candidate,
    /// The plan as a recipe, with the lines of comment at its top.
    pub recipe: WrittenRecipe,
    /// What it is tied with.
    pub tie: Tie,
    /// What keeps it from being better.
    pub binding: Vec<Binding>,
    /// What a little more money would bring.
    pub marginal: Marginal,
    /// Other plans, each different in kind, with why it lost.
    pub runner_ups: Vec<RunnerUp>,
    /// Published recipes at this hardware's price.
    pub published: Vec<PublishedRow>,
    /// How the inverse scaling law was applied, in words.
    pub inverse_law: Vec<String>,
    /// Where each number is from.
    pub sources: Vec<SourceNote>,
    /// What nobody stated or measured, and warnings.
    pub remarks: Vec<String>,
    /// What the user's own runs moved, where there are any.
    pub own_runs: Option<OwnRunsEffect>,
    /// Further budgets.
    pub tiers: Vec<Tier>,
    /// What was aimed at, where it was an accuracy and not a budget.
    pub target: Option<Target>,
    /// Whether the choice changes with what is not known exactly.
    pub sensitivity: Vec<Sensitivity>,
    /// What one more of each limit would bring.
    pub shadow_prices: Vec<ShadowPrice>,
    /// How the choice was made, in numbers.
    pub reasoning: Reasoning,
}

/// An accuracy that is aimed at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// ImageNet zero-shot accuracy in percent.
    pub accuracy_percent: f64,
    /// Probability that the plan reaches it, by the law's interval.
    pub probability: f64,
}

/// What would be chosen if something turned out otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Sensitivity {
    /// `price +20 %`, `speed P10`, `law P10`, ...
    pub what: &'static str,
    /// The plan then; absent where nothing fits.
    pub plan: Option<Candidate>,
    /// Whether it differs in architecture, lengths, stages or accelerator, not only in samples.
    pub changes: bool,
}

/// What one more of a limit would bring.
#[derive(Clone, Debug, PartialEq)]
pub struct ShadowPrice {
    /// `dollar`, `gpu`, `day`, `million_images`.
    pub what: &'static str,
    /// Points of accuracy for one more; absent where none is claimed.
    pub points: Option<f64>,
    /// In words.
    pub words: String,
}

/// How the choice was made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reasoning {
    /// Candidates looked at roughly: shapes on numbers of machines.
    pub candidates: u64,
    /// Shapes, and how many of them the money and time allow.
    pub shapes: usize,
    /// Of these, within budget and deadline.
    pub feasible: usize,
    /// The best of each architecture, largest last.
    pub by_size: Vec<SizeRow>,
    /// The chosen plan with its images shortened by each means; empty where nothing is shortened.
    pub by_reduction: Vec<ReductionRow>,
    /// Plans that the law cannot tell from the best, most accurate first; some of them where there are many.
    pub tied: Vec<TiedRow>,
    /// Accuracy against image tokens of pretraining, by architecture.
    pub by_tokens: Vec<TokenRow>,
}

/// The best that an architecture does for the money, roughly.
#[derive(Clone, Debug, PartialEq)]
pub struct SizeRow {
    /// As papers name it.
    pub architecture: String,
    /// Shapes of it that the money and time allow.
    pub feasible: usize,
    /// Side of the pretraining image in pixels, and text tokens.
    pub image_size_px: u32,
    /// Text tokens of pretraining.
    pub text_tokens: u32,
    /// Samples of pretraining.
    pub samples: crate::units::Samples,
    /// The law's error in percent.
    pub error_percent: f64,
    /// On what.
    pub machine: String,
    /// Roughly.
    pub usd: f64,
}

/// The chosen plan with its images shortened in pretraining by one of the means, to as many patches.
#[derive(Clone, Debug, PartialEq)]
pub struct ReductionRow {
    /// By which.
    pub reduction: ImageReduction,
    /// Side of the image in pixels.
    pub image_size_px: u32,
    /// Patches that reach the transformer.
    pub image_tokens: u32,
    /// The law's error in percent.
    pub error_percent: f64,
    /// The same after pretraining alone.
    pub pretrained_error_percent: f64,
    /// Whether the plan does it so.
    pub chosen: bool,
}

/// A plan that the law cannot tell from the best.
#[derive(Clone, Debug, PartialEq)]
pub struct TiedRow {
    /// The plan in a few words.
    pub label: String,
    /// The law's error in percent.
    pub error_percent: f64,
    /// Distance to the nearest published run.
    pub distance: f64,
}

/// The best that an architecture does at one length.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenRow {
    /// As papers name it.
    pub architecture: String,
    /// Image tokens of pretraining.
    pub image_tokens: u32,
    /// The law's error in percent.
    pub error_percent: f64,
}

/// A recipe and the comments at its top.
#[derive(Clone, Debug, PartialEq)]
pub struct WrittenRecipe {
    /// The recipe.
    pub recipe: Recipe,
    /// Lines of comment, without `# `: what it costs, how long it takes, what to expect, the command.
    pub header: Vec<String>,
}

impl WrittenRecipe {
    /// `recipe.toml`.
    #[must_use]
    pub fn toml(&self) -> String {
        crate::recipe::write_recipe(&self.recipe, &self.header)
    }
}

/// Plans that the law cannot tell apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Tie {
    /// Differences below this many points are ties.
    pub tolerance_points: f64,
    /// How many plans are tied, the chosen one included.
    pub tied: usize,
    /// The most accurate one, by however little.
    pub best: Candidate,
    /// Why the chosen one was chosen.
    pub words: String,
}

/// Something that keeps the plan from being better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// `budget`, `deadline`, `samples`, `memory`, `data`, `decoding`.
    pub kind: &'static str,
    /// With numbers.
    pub words: String,
}

/// What a little more money would bring.
#[derive(Clone, Debug, PartialEq)]
pub struct Marginal {
    /// So much more.
    pub more_usd: Usd,
    /// Points of accuracy of the most accurate plan; absent where none is claimed.
    pub points: Option<f64>,
    /// In words, with the next step up where the little brings nothing.
    pub words: String,
}

/// A plan that lost.
#[derive(Clone, Debug, PartialEq)]
pub struct RunnerUp {
    /// How it differs: `most_accurate`, `longer_tokens`, `smaller`, `larger`, `hardware`, `fine_tuning`.
    pub kind: &'static str,
    /// The plan.
    pub candidate: Candidate,
    /// Why it lost, in words and numbers.
    pub why: String,
}

/// A published recipe at this hardware's price.
#[derive(Clone, Debug, PartialEq)]
pub struct PublishedRow {
    /// The run's row.
    pub id: String,
    /// Reported accuracy in percent.
    pub reported_accuracy_percent: f64,
    /// Reported cost, where there is one.
    pub reported_cost: Option<Usd>,
    /// What it would cost here, and what the law says of it.
    pub candidate: Candidate,
}

/// Where a number is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceNote {
    /// Which number.
    pub what: String,
    /// Its value, for a person.
    pub value: String,
    /// Where from.
    pub source: String,
}

/// A further budget: the plan before extended, or a fresh start.
#[derive(Clone, Debug, PartialEq)]
pub struct Tier {
    /// The budget in all, what the tiers before cost included.
    pub budget: Usd,
    /// Stages added to the tier before; absent where nothing can be added that the law expects anything of.
    pub extension: Option<TierPlan>,
    /// A plan that starts again with the whole budget.
    pub fresh: TierPlan,
    /// Which of the two is meant, and what each brings.
    pub words: String,
}

impl Tier {
    /// The plan that is meant: the extension where there is one.
    #[must_use]
    pub fn meant(&self) -> &TierPlan {
        self.extension.as_ref().unwrap_or(&self.fresh)
    }
}

/// A plan for a tier.
#[derive(Clone, Debug, PartialEq)]
pub struct TierPlan {
    /// The plan.
    pub candidate: Candidate,
    /// As a recipe.
    pub recipe: WrittenRecipe,
    /// Points of accuracy over the tier before; absent where none is claimed.
    pub points: Option<f64>,
    /// What is new, in words.
    pub words: String,
}

/// `CLIPA-v2 (2306.15658): ViT-H/14 (clipav2-H14-dc-70-224), 81.1 %`.
fn evidence_words(evidence: &Evidence) -> String {
    format!("{}, {:.1} %", evidence.citation, evidence.accuracy_percent)
}

/// Dollars of a price or small amount as they are, large ones without cents: `9,603`, `12.60`, `0.045`.
pub(crate) fn money(usd: Usd) -> String {
    if usd.micros() >= 1_000_000_000 {
        crate::units::grouped((usd.micros() as u64 + 500_000) / 1_000_000)
    } else if usd.micros() >= 1_000_000 || usd.micros() <= 0 {
        usd.to_string()
    } else {
        // Three digits of an amount below a dollar.
        let micros = usd.micros();
        let unit = 10i64.pow(micros.ilog10().saturating_sub(2));
        Usd::from_micros((micros + unit / 2) / unit * unit).to_string()
    }
}
