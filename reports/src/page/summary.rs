//! What was spent and what it bought, before anything else.

use maud::{Markup, html};
use shoestring_planner::units::Usd;

use super::Contents;
use crate::charts::affordable;
use crate::read::RunRecord;
use crate::words::{counted, decimal, dollars, percent, printable};

/// Cards for single runs, up to this many; more are in the table.
const CARDS: usize = 6;

/// The page's title.
pub(super) fn headline(contents: &Contents) -> String {
    match contents.runs {
        [] => "What a budget can buy".to_owned(),
        [run] => format!("What {} bought", run.label),
        runs => format!("What {} bought", counted(runs.len(), "run", "runs")),
    }
}

/// A sentence, then cards.
pub(super) fn summary(contents: &Contents) -> Markup {
    let runs = contents.runs;
    html! {
        p { (sentence(runs)) }
        ul.cards {
            @for run in runs.iter().take(CARDS) { (spent_card(run)) (bought_card(run)) }
            (budget_cards(contents))
        }
        @if runs.len() > CARDS {
            p.soft { "The first " (CARDS) " of " (runs.len()) " runs; all of them are in the table " a href="#runs" { "Runs" } "." }
        }
    }
}

fn sentence(runs: &[RunRecord]) -> String {
    let known: Vec<&RunRecord> = runs.iter().filter(|run| !run.ledger.is_empty()).collect();
    if runs.is_empty() {
        return "No run was named, so nothing was spent yet. Below is what the planner expects budgets to buy, beside \
                what others paid."
            .to_owned();
    }
    let unknown = runs.len() - known.len();
    let mut text = if known.is_empty() {
        String::new()
    } else {
        let spent: Usd = known.iter().map(|run| run.account.spent()).sum();
        let cap: Usd = known.iter().map(|run| run.cap()).sum();
        let (of, within) = if known.len() == 1 {
            ("a cap of", "one run".to_owned())
        } else {
            ("caps that add up to", format!("{} runs", known.len()))
        };
        format!("{} spent of {of} {}{} in {within}. ", dollars(spent), dollars(cap), share(spent, cap))
    };
    if unknown > 0 {
        text += &format!("What {} cost is not known.", counted(unknown, "run", "runs"));
    }
    text
}

/// ` (24.6 %)`.
fn share(spent: Usd, cap: Usd) -> String {
    if cap > Usd::ZERO {
        format!(" ({})", percent(100.0 * spent.dollars() / cap.dollars()))
    } else {
        String::new()
    }
}

fn card(what: &str, figure: &str, more: &str) -> Markup {
    html! {
        li {
            span.what { (what) }
            span.figure { (figure) }
            @if !more.is_empty() { span.more { (more) } }
        }
    }
}

fn spent_card(run: &RunRecord) -> Markup {
    let what = format!("{}: spent", run.label);
    let planned = run.recipe.planned.as_ref().map(|plan| plan.cost_usd);
    if run.ledger.is_empty() {
        return card(&what, "not known", &format!("cap {}", dollars(run.cap())));
    }
    let spent = run.account.spent();
    let mut more = format!("of a cap of {}{}", dollars(run.cap()), share(spent, run.cap()));
    if let Some(planned) = planned {
        more += &format!(", {} planned", dollars(planned));
    }
    card(&what, &dollars(spent), &more)
}

fn bought_card(run: &RunRecord) -> Markup {
    let what = format!("{}: bought", run.label);
    let seen = shoestring_planner::units::Samples(run.samples_seen());
    let found = run.last_accuracy().and_then(|row| Some((row, row.accuracy_percent()?)));
    let Some((row, accuracy)) = found else {
        return card(&what, "not evaluated", &format!("{seen} samples seen"));
    };
    let mut more = format!("zero-shot top-1 on {}", row.dataset);
    if let (Some(classes), Some(chance)) = (row.classes, row.chance_percent()) {
        let times = decimal(accuracy / chance, 1);
        more += &format!(", {}: {times} times chance", counted(classes as usize, "class", "classes"));
    }
    more += &format!(", {seen} samples seen");
    card(&what, &percent(accuracy), &printable(&more))
}

fn budget_cards(contents: &Contents) -> Markup {
    let mut budgets = contents.inputs.budgets.clone();
    budgets.sort_by_key(|budget| budget.micros());
    budgets.dedup();
    html! {
        @for budget in budgets {
            @if let Some(point) = affordable(&contents.inputs.frontier, budget) {
                @let accuracy = point.accuracy_percent;
                @let more = format!(
                    "expected on ImageNet, 80 % interval {} to {}; {}, {}",
                    decimal(accuracy.p10, 1), percent(accuracy.p90), printable(&point.label), dollars(point.cost_usd)
                );
                (card(&format!("{} would buy", dollars(budget)), &percent(accuracy.p50), &more))
            }
        }
    }
}
