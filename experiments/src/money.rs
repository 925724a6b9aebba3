//! Opening the money of a run or of a guarded command: its own ledger, a cap that was changed, a shared
//! budget.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use shoestring_ledger::{BudgetGuard, Clock, LedgerError, SharedBudget, Terms};
use shoestring_planner::recipe::Recipe;

/// Opens the ledger at `path` and joins the shared budget, if there is one. A cap other than the ledger's is
/// a change, recorded, and refused below what is spent. Returns also what is worth telling.
pub(crate) fn open(
    path: &Path,
    clock: &Arc<dyn Clock>,
    terms: Terms,
    since: Duration,
    budget: Option<&Path>,
) -> Result<(BudgetGuard, Vec<String>), LedgerError> {
    let cap = terms.cap;
    let before = if path.exists() { shoestring_ledger::read(path)?.account.cap() } else { cap };
    // A ledger that a crash left without its first row has no cap yet.
    let before = if before == shoestring_planner::units::Usd::ZERO { cap } else { before };
    let terms = Terms { cap: before, ..terms };
    let (mut guard, mut told) = BudgetGuard::open(path, Arc::clone(clock), terms, since)?;
    if cap != before {
        guard.set_cap(cap)?;
        let direction = if cap > before { "raised" } else { "lowered" };
        told.push(format!("the cap is {direction} from {before} to {cap} USD"));
    }
    if let Some(budget) = budget {
        let (budget, more) = SharedBudget::open(budget, Arc::clone(clock))?;
        told.extend(more);
        guard.join(budget);
    }
    Ok((guard, told))
}

/// [`open`] with a recipe's cap, price, billing and highest price.
pub(crate) fn of_recipe(
    path: &Path,
    clock: &Arc<dyn Clock>,
    recipe: &Recipe,
    since: Duration,
    budget: Option<&Path>,
) -> Result<(BudgetGuard, Vec<String>), LedgerError> {
    let terms = Terms {
        run: recipe.name.clone(),
        cap: recipe.budget.cap_usd,
        usd_per_hour: recipe.hardware.usd_per_hour,
        price_source: recipe.hardware.price_source.clone(),
        price_as_of: None,
    };
    let (mut guard, told) = open(path, clock, terms, since, budget)?;
    guard.set_billing(recipe.hardware.billing());
    if let Some(worst) = recipe.hardware.max_usd_per_hour {
        guard.reckon_with(worst);
    }
    Ok((guard, told))
}

/// Thresholds of the shared budget that were crossed, in words; their commands are started.
pub(crate) fn warnings(guard: &mut BudgetGuard) -> Result<Vec<String>, LedgerError> {
    let Some(budget) = guard.budget_mut() else { return Ok(Vec::new()) };
    let warnings = budget.warnings()?;
    Ok(warnings
        .into_iter()
        .map(|warning| {
            let mut text = format!(
                "budget {}: {} of {} USD are spent, more than {} %",
                warning.budget, warning.spent, warning.cap, warning.at_percent
            );
            if let Some(hook) = warning.hook {
                let started = Command::new("sh")
                    .args(["-c", &hook])
                    .env("SHOESTRING_BUDGET", &warning.budget)
                    .env("SHOESTRING_SPENT_USD", warning.spent.dollars().to_string())
                    .env("SHOESTRING_CAP_USD", warning.cap.dollars().to_string())
                    .stdin(Stdio::null())
                    .spawn();
                if let Err(error) = started {
                    text.push_str(&format!("; its command could not be started: {error}"));
                }
            }
            text
        })
        .collect())
}
