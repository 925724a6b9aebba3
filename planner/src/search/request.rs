//! What the user asked for.

use chrono::NaiveDate;

use super::error::RequestError;
use super::fixed::Fixed;
use super::menu::MenuLimits;
use super::schedule::FEWEST_USEFUL_SAMPLES;
use crate::architecture::Architecture;
use crate::calibration::{Calibration, StoredPictures};
use crate::law::{Law, Refined};
use crate::money::{Extra, ExtraPrice};
use crate::offer::Offer;
use crate::recipe::{Data, ImageReduction, TextReduction};
use crate::source::Source;
use crate::units::{Hours, Samples, Usd};

/// A price that the user states, with what it is the price of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatedPrice {
    /// One accelerator for one hour.
    PerGpuHour(Usd),
    /// One whole machine, all its accelerators, for one hour.
    PerMachineHour(Usd),
}

impl StatedPrice {
    /// The amount, whatever it is the price of.
    #[must_use]
    pub fn amount(self) -> Usd {
        match self {
            Self::PerGpuHour(usd) | Self::PerMachineHour(usd) => usd,
        }
    }
}

/// Which hardware may be rented. Everything left out is searched over the catalogue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HardwareRequest {
    /// An offer by name: `this-machine`, `provider/instance-type`, or an instance type.
    pub offer: Option<String>,
    /// An accelerator by name.
    pub gpu: Option<String>,
    /// A price that replaces the catalogue's.
    pub price: Option<StatedPrice>,
    /// Accelerators in all.
    pub gpus: Option<u32>,
    /// Rent spot (interruptible) machines instead of on-demand ones.
    pub spot: bool,
    /// Only this provider.
    pub provider: Option<String>,
    /// Only this region.
    pub region: Option<String>,
    /// Spot machines are left for on-demand ones after so many interruptions.
    pub fallback_after: Option<u32>,
    /// Today's offers, instead of the built-in ones.
    pub prices: Option<Vec<Offer>>,
}

/// What there is to train on.
#[derive(Clone, Debug, PartialEq)]
pub enum DataRequest {
    /// A published data set by name; the number of different pairs replaces the published one.
    Named {
        /// Name, as `dataset::find` knows it.
        name: String,
        /// Different image-caption pairs on hand.
        unique_samples: Option<Samples>,
    },
    /// The user's own, from a recipe or `dataset.toml`.
    Own(Box<Data>),
}

impl Default for DataRequest {
    /// DataComp-1B, the data of the published run that `plan` is anchored on; shown as an assumption.
    fn default() -> Self {
        Self::Named { name: "DataComp-1B".to_owned(), unique_samples: None }
    }
}

/// What is kept and paid for besides training; counted where a price is given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Keeping {
    /// GB of training data; left out, [`BYTES_PER_PAIR`] for each different pair.
    pub data_gb: Option<f64>,
    /// Price of keeping a GB for a month, while the run lasts.
    pub storage_usd_per_gb_month: Option<Usd>,
    /// Price of sending a GB to the machine.
    pub egress_usd_per_gb: Option<Usd>,
    /// Times that all data are sent; one where they are kept on the machine.
    pub egress_passes: u32,
    /// Hours that the machine is paid for and does nothing.
    pub idle: Option<Hours>,
}

/// A stored pair at 256 px, between LAION-400M's 25 KB and CLIPA's 3 to 5 KB at 112 px.
pub const BYTES_PER_PAIR: f64 = 25e3;

impl Keeping {
    /// GB of the training data.
    #[must_use]
    pub fn gb(&self, pairs: Samples) -> f64 {
        self.data_gb.unwrap_or(pairs.0 as f64 * BYTES_PER_PAIR / 1e9)
    }

    pub(super) fn extras(&self, pairs: Samples) -> Vec<Extra> {
        let gb = self.gb(pairs);
        let size = match self.data_gb {
            Some(_) => "as stated".to_owned(),
            None => {
                format!("{pairs} pairs of {:.0} KB at 256 px (LAION-400M's density)", BYTES_PER_PAIR / 1e3)
            }
        };
        let mut extras = Vec::new();
        if let Some(price) = self.storage_usd_per_gb_month {
            let source =
                Source::computed(format!("{gb:.0} GB ({size}) at a stated {price} USD per GB-month"));
            let price = ExtraPrice::PerGbMonth(price);
            extras.push(Extra { what: "storage".to_owned(), gb, price, source });
        }
        if let Some(price) = self.egress_usd_per_gb {
            let passes = self.egress_passes.max(1);
            let why = format!("{passes} x {gb:.0} GB ({size}) at a stated {price} USD per GB");
            let sent = gb * f64::from(passes);
            let price = ExtraPrice::PerGb(price);
            extras.push(Extra { what: "egress".to_owned(), gb: sent, price, source: Source::computed(why) });
        }
        extras
    }
}

/// Everything the user has decided; what is left open is searched.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Budgets; the first is planned, each further one is a tier on top of the one before.
    pub budgets: Vec<Usd>,
    /// Hardware.
    pub hardware: HardwareRequest,
    /// Latest end, in wall-clock hours from the start.
    pub deadline: Option<Hours>,
    /// Data.
    pub data: DataRequest,
    /// Whether the user named the data; otherwise it is shown as an assumption.
    pub data_stated: bool,
    /// Samples seen in pretraining; left out, solved from the budget.
    pub samples: Option<Samples>,
    /// Samples seen in the fine-tuning stage at full size.
    pub finetune_samples: Option<Samples>,
    /// Image sizes that fine-tuning may use; `None`: any; empty: no fine-tuning.
    pub finetune_sizes_px: Option<Vec<u32>>,
    /// One architecture by name.
    pub architecture: Option<String>,
    /// One architecture that is not among those known, such as from a file ([`crate::open_clip`]).
    pub own_architecture: Option<&'static Architecture>,
    /// Instead of the most accurate plan for a budget, the cheapest for this accuracy in percent.
    pub target_accuracy_percent: Option<f64>,
    /// What is kept and paid for besides training.
    pub keeping: Keeping,
    /// Parts of the pretraining stage.
    pub fixed: Fixed,
    /// The plan's cost stays within the budget with at least this probability. The cap holds in any case: a
    /// run that turns out dearer is re-planned and stopped in time, not continued on credit.
    pub confidence: f64,
    /// How images may be shortened in pretraining.
    pub image_reductions: Vec<ImageReduction>,
    /// How captions may be shortened.
    pub text_reductions: Vec<TextReduction>,
    /// The law moved by the user's own runs, and what moved it; left out, the built-in law.
    pub own_runs: Option<&'static Refined>,
    /// A measurement of the hardware, which replaces the prior on its speed.
    pub calibration: Option<Calibration>,
    /// How the user's own pictures are stored, where that is known.
    pub stored: Option<StoredPictures>,
    /// The day that prices' age is counted from.
    pub today: NaiveDate,
    /// The command that asked, for the recipe's comments.
    pub command: String,
    /// Seed of the recipe.
    pub seed: u64,
    /// Name of the recipe; left out, made from the plan.
    pub name: Option<String>,
}

impl Request {
    /// At most this many budgets in one request.
    pub const MOST_TIERS: usize = 8;

    /// A request with a budget and nothing else decided.
    #[must_use]
    pub fn new(budget: Usd, today: NaiveDate) -> Self {
        Self {
            budgets: vec![budget],
            hardware: HardwareRequest::default(),
            deadline: None,
            data: DataRequest::default(),
            data_stated: false,
            samples: None,
            finetune_samples: None,
            finetune_sizes_px: None,
            architecture: None,
            own_architecture: None,
            target_accuracy_percent: None,
            keeping: Keeping::default(),
            fixed: Fixed::default(),
            confidence: 0.5,
            image_reductions: vec![
                ImageReduction::Resize,
                ImageReduction::Random,
                ImageReduction::Grid,
                ImageReduction::Block,
            ],
            text_reductions: vec![TextReduction::Truncate, TextReduction::Block, TextReduction::Syntax],
            own_runs: None,
            calibration: None,
            stored: None,
            today,
            command: String::new(),
            seed: 0,
            name: None,
        }
    }

    /// Checks what can be checked of the request alone: the first thing that cannot be, with advice.
    pub fn check(&self) -> Result<(), RequestError> {
        self.check_budgets()?;
        if !(self.confidence > 0.0 && self.confidence < 1.0) {
            let problem = "must be between 0 and 1, both excluded";
            let hint = "0.5 plans on the median cost, 0.9 on a cost that nine plans in ten stay below";
            return Err(RequestError::new("--confidence", self.confidence, problem, hint));
        }
        if let Some(deadline) = self.deadline
            && !(deadline.0 > 0.0 && deadline.0.is_finite())
        {
            let hint = "state the time from start to end, such as 72h or 30d";
            return Err(RequestError::new("--deadline", deadline.0, "must be more than zero", hint));
        }
        if let Some(price) = self.hardware.price
            && price.amount() <= Usd::ZERO
        {
            let hint = "state what the machine is worth to you per hour; a cap needs a price to count with";
            return Err(RequestError::new("--price", price.amount(), "must be more than zero", hint));
        }
        if self.hardware.gpus == Some(0) {
            return Err(RequestError::new("--gpus", 0, "must be at least 1", "count the accelerators"));
        }
        for (field, samples) in [("--samples", self.samples), ("--finetune-samples", self.finetune_samples)] {
            if let Some(samples) = samples
                && samples.0 < FEWEST_USEFUL_SAMPLES
            {
                let problem = format!("is less than the fewest that train anything, {FEWEST_USEFUL_SAMPLES}");
                return Err(RequestError::new(
                    field,
                    samples.0,
                    problem,
                    "leave it out to solve it from the budget",
                ));
            }
        }
        if self.text_reductions.is_empty() {
            let hint = "allow at least truncate";
            return Err(RequestError::new("--text-reduction", "none", "nothing is allowed", hint));
        }
        if self.image_reductions.is_empty() {
            let hint = "allow at least resize";
            return Err(RequestError::new("--image-reduction", "none", "nothing is allowed", hint));
        }
        let unique = match &self.data {
            DataRequest::Named { unique_samples, .. } => *unique_samples,
            DataRequest::Own(data) => Some(data.unique_samples),
        };
        if unique == Some(Samples(0)) {
            let hint = "count the different image-caption pairs";
            return Err(RequestError::new("--unique-samples", 0, "must be at least 1", hint));
        }
        Ok(())
    }

    fn check_budgets(&self) -> Result<(), RequestError> {
        if self.target_accuracy_percent.is_some() && self.budgets.is_empty() {
            return Ok(());
        }
        let Some(&first) = self.budgets.first() else {
            return Err(RequestError::new(
                "--budget",
                "none",
                "is missing",
                "state it in dollars: --budget 10000",
            ));
        };
        if self.budgets.len() > Self::MOST_TIERS {
            let problem = format!("more than {} tiers", Self::MOST_TIERS);
            return Err(RequestError::new(
                "--budget",
                self.budgets.len(),
                problem,
                "ask for fewer at a time",
            ));
        }
        for &budget in &self.budgets {
            if budget < Usd::ZERO {
                let hint = "a budget is what may be spent, in dollars";
                return Err(RequestError::new("--budget", budget, "is negative", hint));
            }
            if budget == Usd::ZERO {
                let hint =
                    "nothing can be trained for nothing; this machine's price can be stated with --price";
                return Err(RequestError::new("--budget", budget, "must be more than zero", hint));
            }
        }
        let mut before = first;
        for &budget in &self.budgets[1..] {
            if budget <= before {
                let problem = format!("is not more than the tier before it, {before}");
                return Err(RequestError::new("--budget", budget, problem, "give tiers from small to large"));
            }
            before = budget;
        }
        Ok(())
    }

    /// Checks pinned sizes against an architecture that the user has pinned as well.
    pub(super) fn check_fixed(&self, architecture: &Architecture) -> Result<(), RequestError> {
        let patch = architecture.vision_cfg.patch_size;
        let pretraining = self.fixed.image_size_px.iter().map(|size| ("--fixed image_size_px", size));
        let tuning = self.finetune_sizes_px.iter().flatten().map(|size| ("--finetune-sizes", size));
        for (field, &size) in pretraining.chain(tuning) {
            if size == 0 || !size.is_multiple_of(patch) {
                let below = (size / patch).max(1) * patch;
                let problem = format!("is not a multiple of {}'s patch of {patch} px", architecture.name);
                let hint = format!("{below} or {} would do", below + patch);
                return Err(RequestError::new(field, size, problem, hint));
            }
        }
        let context = architecture.text_cfg.context_length;
        if let Some(tokens) = self.fixed.text_tokens
            && (tokens.0 < 2 || tokens.0 > context)
        {
            let problem = format!("is out of {}'s range", architecture.name);
            let hint = format!("use 2 (start and end marker) to {context}");
            return Err(RequestError::new("--fixed text_tokens", tokens, problem, hint));
        }
        Ok(())
    }

    /// The law to plan with.
    #[must_use]
    pub fn law(&self) -> &'static Law {
        self.own_runs.map_or_else(Law::built_in, |refined| &refined.law)
    }

    pub(super) fn limits(&self) -> MenuLimits {
        MenuLimits {
            image_size_px: self.fixed.image_size_px,
            only_masks: !self.image_reductions.contains(&ImageReduction::Resize),
            text_tokens: self.fixed.text_tokens,
            finetune_samples: self.finetune_samples,
            finetune_sizes_px: self.finetune_sizes_px.clone(),
        }
    }
}
