//! Money against time of one run, with its cap, its plan and the budgets.

use shoestring_ledger::Kind;
use shoestring_planner::units::{Hours, Usd};

use super::Draft;
use super::axis::Axis;
use super::frame::{Entry, Form, Frame, Swatch};
use super::scene::{Color, Dash, Scene};
use crate::read::{RunRecord, SpendPoint};
use crate::words::{dollars, percent};

/// More steps than this cannot be seen.
const STEPS: usize = 1500;

/// `None` while there is no ledger.
pub(super) fn chart(run: &RunRecord, budgets: &[Usd]) -> Option<Draft> {
    let points = run.spend();
    let last = points.last()?;
    let cap = run.cap();
    let spent = run.account.spent();
    let share = if cap > Usd::ZERO { 100.0 * spent.dollars() / cap.dollars() } else { 0.0 };
    let mut caption = format!(
        "{} of the cap of {} is spent ({}) after {}.",
        dollars(spent),
        dollars(cap),
        percent(share),
        last.elapsed
    );
    if let Some(plan) = &run.recipe.planned {
        caption += &format!(" Planned: {} in {}.", dollars(plan.cost_usd), plan.hours);
    }
    if run.ledger.iter().any(|row| row.kind == Kind::Reserve) {
        caption += " Money set aside counts as spent until the quantum is settled.";
    }
    let chart = Spend {
        cap,
        planned: run.recipe.planned.as_ref().map(|plan| (plan.cost_usd, plan.hours)),
        budgets: budgets.iter().copied().filter(|&budget| comparable(budget, cap)).collect(),
        points,
    };
    let title = format!("Spend against time: {}", run.label);
    let id = format!("spend-{}", run.slug);
    Some(Draft::new(id, title, caption, |form, title| chart.lay_out(form, title)))
}

/// A budget line belongs beside a cap of its own size: far above, it would press the run to the floor; equal to
/// it, it would hide it.
fn comparable(budget: Usd, cap: Usd) -> bool {
    budget != cap && budget > Usd::ZERO && budget.dollars() <= 1.6 * cap.dollars()
}

struct Spend {
    points: Vec<SpendPoint>,
    cap: Usd,
    planned: Option<(Usd, Hours)>,
    budgets: Vec<Usd>,
}

impl Spend {
    fn lay_out(&self, form: Form, title: &str) -> Scene {
        let mut legend = vec![
            Entry::new(Swatch::Line(Dash::Solid), Color::BLUE, "settled"),
            Entry::new(Swatch::Line(Dash::Solid), Color::SKY, "settled and set aside"),
            Entry::new(Swatch::Line(Dash::Dashed), Color::VERMILLION, format!("cap, {}", dollars(self.cap))),
        ];
        if let Some((cost, _)) = self.planned {
            let label = format!("planned, {}", dollars(cost));
            legend.push(Entry::new(Swatch::Line(Dash::Dashed), Color::GREY, label));
        }
        for budget in &self.budgets {
            let label = format!("budget, {}", dollars(*budget));
            legend.push(Entry::new(Swatch::Line(Dash::Dotted), Color::PURPLE, label));
        }
        let elapsed = self.points.last().map_or(0.0, |point| point.elapsed.0);
        let planned_hours = self.planned.map_or(0.0, |(_, hours)| hours.0);
        // A run that has only begun is not pressed to the edge by the length of its plan.
        let mut end = elapsed.max(planned_hours.min(4.0 * elapsed));
        if end <= 0.0 {
            end = planned_hours.max(1.0 / 3600.0);
        }
        let highest = self.budgets.iter().fold(self.cap, |most, &one| if one > most { one } else { most });
        let mut top = highest.dollars();
        if let Some((cost, hours)) = self.planned {
            let reached =
                if hours.0 > 0.0 { (end / hours.0).min(1.0) * cost.dollars() } else { cost.dollars() };
            top = top.max(reached.min(2.0 * highest.dollars()));
        }
        let x = Axis::hours("Time since the run began", end * 1.03);
        let y = Axis::linear("Money in USD", 0.0, top * 1.02);
        let mut frame = Frame::new(form, title, &legend, x, y);
        for budget in &self.budgets {
            frame.level(budget.dollars(), Color::PURPLE, Dash::Dotted);
        }
        frame.level(self.cap.dollars(), Color::VERMILLION, Dash::Dashed);
        if let Some((cost, hours)) = self.planned {
            frame.line(&[(0.0, 0.0), (hours.0, cost.dollars())], Color::GREY, Dash::Dashed);
        }
        let spent = self.staircase(|point| point.spent);
        frame.line(&spent, Color::SKY, Dash::Solid);
        let settled = self.staircase(|point| point.settled);
        frame.line(&settled, Color::BLUE, Dash::Solid);
        frame.scene
    }

    /// Amounts stay until the next row changes them.
    fn staircase(&self, of: impl Fn(&SpendPoint) -> Usd) -> Vec<(f64, f64)> {
        let every = self.points.len().div_ceil(STEPS).max(1);
        let mut out: Vec<(f64, f64)> = Vec::new();
        for (index, point) in self.points.iter().enumerate() {
            let is_last = index + 1 == self.points.len();
            let (x, y) = (point.elapsed.0, of(point).dollars());
            match out.last() {
                Some(&(_, before)) if is_last || index.is_multiple_of(every) => {
                    if before != y {
                        out.push((x, before));
                        out.push((x, y));
                    } else if is_last {
                        out.push((x, y));
                    }
                }
                None => out.push((x, y)),
                Some(_) => {}
            }
        }
        out
    }
}
