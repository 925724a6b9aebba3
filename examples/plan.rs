//! A budget becomes a recipe: `cargo run --example plan`.
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::error::Error;

use shoestring_planner::search::{Request, plan};
use shoestring_planner::units::Usd;

fn main() -> Result<(), Box<dyn Error>> {
    let mut request = Request::new(Usd::from_dollars(10_000.0), chrono::Utc::now().date_naive());
    // At least nine times in ten the cost shall stay within the budget.
    request.confidence = 0.9;
    let plan = plan(&request)?;
    println!("{}", plan.text());
    println!("{}", plan.recipe.toml());
    Ok(())
}
