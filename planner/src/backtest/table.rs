//! Every prediction as one line of a table, the same for all back-tests: the CSV form.

use super::accuracy::{Held, left_out, paper_left_out};
use super::unseen::Unseen;
use super::{BackTest, accuracy};
use crate::law::fit::Residual;

/// One prediction against what was published.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// What the law or model had not seen: `leave_one_out`, `leave_paper_out`, `clipa_v2_left_out`, `run_left_out`,
    /// `point_left_out`, `file`.
    pub test: &'static str,
    /// The run, the speed, or ablation with encoder and length.
    pub id: String,
    /// Paper or group.
    pub paper: String,
    /// `accuracy_percent`, `coco_image_r1_percent` and its like, `device_hours`, `cost_usd` or `drop_points`.
    pub quantity: &'static str,
    /// As published.
    pub reported: f64,
    /// Median prediction.
    pub predicted: f64,
    /// 80 % interval; `None`: none is claimed.
    pub interval: Option<(f64, f64)>,
    /// Whether the line counts in the summary.
    pub counted: bool,
}

impl Line {
    /// Whether the interval holds the published value.
    #[must_use]
    pub fn hit(&self) -> Option<bool> {
        self.interval.map(|(low, high)| (low..=high).contains(&self.reported))
    }
}

/// Header of the CSV form.
pub const COLUMNS: [&str; 10] =
    ["test", "id", "paper", "quantity", "reported", "predicted", "p10", "p90", "hit", "counted"];

fn of_accuracy(test: &'static str, id: &str, paper: &str, held: Held, counted: bool) -> Line {
    of_percent("accuracy_percent", test, id, paper, held, counted)
}

fn of_percent(
    quantity: &'static str,
    test: &'static str,
    id: &str,
    paper: &str,
    held: Held,
    counted: bool,
) -> Line {
    let Held { reported, predicted, half_width } = held;
    Line {
        test,
        id: id.to_owned(),
        paper: paper.to_owned(),
        quantity,
        reported,
        predicted,
        interval: Some(((predicted - half_width).max(0.0), (predicted + half_width).min(100.0))),
        counted,
    }
}

impl BackTest {
    /// Every prediction.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        let mut out = Vec::new();
        for row in &self.fitted.residuals {
            out.push(of_accuracy("leave_one_out", &row.id, &row.paper, left_out(row), row.judged));
        }
        for row in &self.fitted.residuals {
            out.push(of_accuracy("leave_paper_out", &row.id, &row.paper, paper_left_out(row), row.judged));
        }
        for (target, rows) in &self.fitted.retrieval {
            for (test, held) in [
                ("leave_one_out", left_out as fn(&Residual) -> Held),
                ("leave_paper_out", paper_left_out as fn(&Residual) -> Held),
            ] {
                out.extend(rows.iter().map(|row| {
                    of_percent(target.column(), test, &row.id, &row.paper, held(row), row.judged)
                }));
            }
        }
        for row in &self.clipa_v2 {
            out.push(of_accuracy("clipa_v2_left_out", &row.id, accuracy::CLIPA_V2, row.held, row.in_table_4));
        }
        for row in &self.hours {
            let line = |quantity, reported, predicted, interval| Line {
                test: "run_left_out",
                id: row.id.clone(),
                paper: row.paper.clone(),
                quantity,
                reported,
                predicted,
                interval: Some(interval),
                counted: true,
            };
            let hours = row.predicted;
            out.push(line("device_hours", row.reported.0, hours.p50.0, (hours.p10.0, hours.p90.0)));
            if let (Some(reported), Some(cost)) = (row.reported_cost, row.predicted_cost) {
                let interval = (cost.p10.dollars(), cost.p90.dollars());
                out.push(line("cost_usd", reported.dollars(), cost.p50.dollars(), interval));
            }
        }
        for (ablation, points) in &self.inverse {
            for point in points {
                let size = point.image_parameters / 1e6;
                out.push(Line {
                    test: "point_left_out",
                    id: format!("{} {size:.0} M {:.3} kept", ablation.name(), point.part),
                    paper: ablation.paper().to_owned(),
                    quantity: "drop_points",
                    reported: point.reported,
                    predicted: point.left_out,
                    interval: None,
                    counted: true,
                });
            }
        }
        out
    }

    /// [`BackTest::lines`] as CSV with a header ([`COLUMNS`]).
    #[must_use]
    pub fn csv(&self) -> String {
        csv_of(&self.lines())
    }
}

impl Unseen {
    /// Every prediction that could be made.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        let mut out = Vec::new();
        for row in &self.rows {
            let counted = row.exclusion.is_none();
            if let Some(held) = row.held {
                out.push(of_accuracy("file", &row.id, &row.paper, held, counted));
            }
            let line = |quantity, reported, predicted, interval| Line {
                test: "file",
                id: row.id.clone(),
                paper: row.paper.clone(),
                quantity,
                reported,
                predicted,
                interval: Some(interval),
                counted: true,
            };
            if let Some((reported, hours)) = row.hours {
                out.push(line("device_hours", reported.0, hours.p50.0, (hours.p10.0, hours.p90.0)));
            }
            if let Some((reported, cost)) = row.cost {
                let interval = (cost.p10.dollars(), cost.p90.dollars());
                out.push(line("cost_usd", reported.dollars(), cost.p50.dollars(), interval));
            }
        }
        out
    }

    /// [`Unseen::lines`] as CSV with a header ([`COLUMNS`]).
    #[must_use]
    pub fn csv(&self) -> String {
        csv_of(&self.lines())
    }
}

fn csv_of(lines: &[Line]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let number = |value: f64| format!("{value:.4}");
    let all = lines.iter().map(|line| {
        let edge =
            |of: fn((f64, f64)) -> f64| line.interval.map_or_else(String::new, |both| number(of(both)));
        [
            line.test.to_owned(),
            line.id.clone(),
            line.paper.clone(),
            line.quantity.to_owned(),
            number(line.reported),
            number(line.predicted),
            edge(|(low, _)| low),
            edge(|(_, high)| high),
            line.hit().map_or_else(String::new, |hit| hit.to_string()),
            line.counted.to_string(),
        ]
    });
    // Writing into memory cannot fail.
    let header = std::iter::once(COLUMNS.map(str::to_owned));
    for record in header.chain(all) {
        let _ = writer.write_record(&record);
    }
    writer.into_inner().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
