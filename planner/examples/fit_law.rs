//! Fits the accuracy law on `planner/data/runs.csv`, writes `planner/data/law.toml` and says how wrong the law is.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::path::Path;

use shoestring_planner::law::fit::{self, Residual, mean_absolute};
use shoestring_planner::law::write_law;
use shoestring_planner::published;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let text = std::fs::read_to_string(data.join("runs.csv"))?;
    let runs = published::read_runs(&text)?;
    let fitted = fit::fit(&runs)?;
    let target = data.join("law.toml");
    let temporary = data.join("law.toml.new");
    std::fs::write(&temporary, write_law(&fitted, &text))?;
    std::fs::rename(&temporary, &target)?;

    println!("{} runs, {} judged, {} steps", fitted.residuals.len(), fitted.judged().count(), fitted.steps);
    println!("in sample       {:.3}", mean_absolute(fitted.judged().map(|row| row.fitted - row.observed)));
    println!("leave one out   {:.3}", fitted.leave_one_out_error());
    println!("leave paper out {:.3}", fitted.leave_paper_out_error());
    println!("coverage {:.3} {:.3}", fitted.leave_one_out_coverage(), fitted.leave_paper_out_coverage());

    let mut papers: BTreeMap<&str, Vec<&Residual>> = BTreeMap::new();
    for row in &fitted.residuals {
        papers.entry(if row.judged { &row.paper } else { "short or low" }).or_default().push(row);
    }
    println!("\npaper: runs, fitted, left out (within), paper left out (within)");
    for (paper, rows) in &papers {
        let share = |inside: &dyn Fn(&Residual) -> bool| {
            100.0 * rows.iter().filter(|row| inside(row)).count() as f64 / rows.len() as f64
        };
        println!(
            "{paper:45} {:4} {:5.2} {:5.2} ({:3.0} %) {:5.2} ({:3.0} %)",
            rows.len(),
            mean_absolute(rows.iter().map(|row| row.fitted - row.observed)),
            mean_absolute(rows.iter().map(|row| row.left_out - row.observed)),
            share(&|row| (row.left_out - row.observed).abs() <= row.left_out_half_width),
            mean_absolute(rows.iter().map(|row| row.paper_left_out - row.observed)),
            share(&|row| (row.paper_left_out - row.observed).abs() <= row.paper_left_out_half_width),
        );
    }
    println!("\nrow: observed, fitted, left out, CLIPA-v2 left out");
    let held: BTreeMap<String, f64> = fit::hold_out(&runs, |run| run.paper.starts_with("CLIPA-v2"))?
        .into_iter()
        .map(|(id, _, predicted)| (id, predicted))
        .collect();
    for row in fitted.residuals.iter().filter(|row| held.contains_key(&row.id)) {
        println!(
            "{:30} {:.1} {:.2} {:.2} +-{:.2} {:.2} +-{:.2}",
            row.id,
            row.observed,
            row.fitted,
            row.left_out,
            row.left_out_half_width,
            held[&row.id],
            row.paper_left_out_half_width
        );
    }
    Ok(())
}
