//! How long things took, and from that what to set aside for them. Decides when, never what.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

/// Set aside this many times the worst recent duration.
pub const SAFETY: f64 = 1.5;
/// Steps' worth of time that is held back besides the last checkpoint and evaluation,
pub const MARGIN_STEPS: f64 = 3.0;
/// and the part of the cap that this is at most; but one step's worth it always is.
pub const MARGIN_OF_CAP: f64 = 0.01;
/// Wall-clock seconds that a quantum of training steps aims at, where the ledger is quick,
const QUANTUM_SECONDS: f64 = 3.0;
/// and at most.
const LONGEST_QUANTUM_SECONDS: f64 = 30.0;
/// Reserving and settling may take this part of a quantum: disks that sync slowly, and budgets within budgets, get
/// longer quanta.
const LEDGER_SHARE: f64 = 0.003;
/// Recent steps that count for the worst one.
const RECENT: usize = 32;
/// Recent steps that say what a step costs at present.
const PRESENT: usize = 8;

/// How long things took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Seconds of recent steps, by stage.
    #[serde(default)]
    steps: BTreeMap<String, VecDeque<f64>>,
    /// Seconds of the last whole evaluation, by stage.
    #[serde(default)]
    evaluations: BTreeMap<String, f64>,
    /// What a step took when that was measured, in seconds, by stage.
    #[serde(default)]
    paces: BTreeMap<String, f64>,
    /// Seconds of the slowest checkpoint.
    #[serde(default)]
    checkpoint: Option<f64>,
    /// Seconds for reserving and settling recent quanta. Of this process: the next may have another disk.
    #[serde(skip)]
    ledger: VecDeque<f64>,
}

impl Timing {
    /// A step of `stage` took so long.
    pub fn step_took(&mut self, stage: &str, seconds: f64) {
        remember(self.steps.entry(stage.to_owned()).or_default(), seconds);
    }

    /// Reserving and settling a quantum took so long together.
    pub fn ledger_took(&mut self, seconds: f64) {
        remember(&mut self.ledger, seconds);
    }

    /// Wall-clock seconds that the next quantum aims at: such that the ledger takes no more than 0.3 % of them, but
    /// from 3 to 30, since a crash is charged for a whole quantum.
    #[must_use]
    pub fn quantum(&self) -> f64 {
        let mean = self.ledger.iter().sum::<f64>() / self.ledger.len().max(1) as f64;
        (mean / LEDGER_SHARE).clamp(QUANTUM_SECONDS, LONGEST_QUANTUM_SECONDS)
    }

    /// An evaluation in `stage` took so long.
    pub fn evaluation_took(&mut self, stage: &str, seconds: f64) {
        self.evaluations.insert(stage.to_owned(), round(seconds));
        if let Some(pace) = self.present_step(stage) {
            self.paces.insert(stage.to_owned(), round(pace));
        }
    }

    /// A checkpoint took so long.
    pub fn checkpoint_took(&mut self, seconds: f64) {
        self.checkpoint = Some(self.checkpoint.map_or(seconds, |slowest| slowest.max(seconds)));
    }

    /// The slowest of the recent steps of `stage`, in seconds.
    #[must_use]
    pub fn slowest_step(&self, stage: &str) -> Option<f64> {
        self.steps.get(stage)?.iter().copied().reduce(f64::max)
    }

    /// The median of the recent steps of `stage`, in seconds.
    #[must_use]
    pub fn usual_step(&self, stage: &str) -> Option<f64> {
        let mut sorted: Vec<f64> = self.steps.get(stage)?.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied()
    }

    /// What a step of `stage` takes at present, in seconds: the mean of the latest eight, or the median of
    /// the latest three if that is more, so that a slower machine is noticed at its second step and a single
    /// hiccup is not. `None` before the third.
    #[must_use]
    pub fn present_step(&self, stage: &str) -> Option<f64> {
        let recent = self.steps.get(stage)?;
        let latest: Vec<f64> = recent.iter().rev().take(PRESENT).copied().collect();
        let mut three: [f64; 3] = latest.get(..3)?.try_into().ok()?;
        three.sort_by(f64::total_cmp);
        Some((latest.iter().sum::<f64>() / latest.len() as f64).max(three[1]))
    }

    /// The last whole evaluation in `stage`, in seconds; longer where the machine has become slower since.
    #[must_use]
    pub fn evaluation(&self, stage: &str) -> Option<f64> {
        let measured = self.evaluations.get(stage)?;
        let slower = match (self.present_step(stage), self.paces.get(stage)) {
            (Some(now), Some(&then)) if then > 0.0 => (now / then).max(1.0),
            _ => 1.0,
        };
        Some(measured * slower)
    }

    /// The slowest checkpoint, in seconds.
    #[must_use]
    pub fn checkpoint(&self) -> Option<f64> {
        self.checkpoint
    }
}

fn remember(recent: &mut VecDeque<f64>, seconds: f64) {
    if recent.len() == RECENT {
        recent.pop_front();
    }
    recent.push_back(round(seconds));
}

/// Microseconds are plenty, and keep `state.json` readable.
fn round(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_step_is_remembered_for_a_while_and_no_longer() {
        let mut timing = Timing::default();
        assert_eq!(timing.slowest_step("a"), None);
        timing.step_took("a", 9.0);
        for _ in 1..RECENT {
            timing.step_took("a", 1.0);
        }
        assert_eq!((timing.slowest_step("a"), timing.usual_step("a")), (Some(9.0), Some(1.0)));
        timing.step_took("a", 1.0);
        assert_eq!(timing.slowest_step("a"), Some(1.0));
        assert_eq!(timing.slowest_step("b"), None);
    }

    #[test]
    fn a_ledger_that_syncs_slowly_gets_longer_quanta() {
        let mut timing = Timing::default();
        assert_eq!(timing.quantum(), 3.0);
        timing.ledger_took(0.006);
        assert_eq!(timing.quantum(), 3.0);
        for _ in 0..RECENT {
            timing.ledger_took(0.024);
        }
        assert!((timing.quantum() - 8.0).abs() < 1e-9);
        for _ in 0..RECENT {
            timing.ledger_took(1.0);
        }
        assert_eq!(timing.quantum(), 30.0);
    }

    #[test]
    fn a_slower_machine_is_noticed_at_its_second_step() {
        let mut timing = Timing::default();
        for _ in 0..2 {
            timing.step_took("a", 1.0);
        }
        assert_eq!(timing.present_step("a"), None);
        timing.step_took("a", 1.0);
        assert_eq!(timing.present_step("a"), Some(1.0));
        for _ in 0..8 {
            timing.step_took("a", 1.0);
        }
        timing.step_took("a", 9.0);
        assert_eq!(timing.present_step("a"), Some(2.0));
        timing.step_took("a", 9.0);
        assert_eq!(timing.present_step("a"), Some(9.0));
    }

    #[test]
    fn a_slower_machine_evaluates_more_slowly_too() {
        let mut timing = Timing::default();
        timing.evaluation_took("b", 7.0);
        for _ in 0..8 {
            timing.step_took("a", 1.0);
        }
        timing.evaluation_took("a", 6.0);
        timing.step_took("a", 4.0);
        timing.step_took("a", 4.0);
        assert_eq!((timing.evaluation("a"), timing.evaluation("b")), (Some(24.0), Some(7.0)));
        timing.evaluation_took("a", 20.0);
        assert_eq!(timing.evaluation("a"), Some(20.0), "measured at that pace");
        for _ in 0..8 {
            timing.step_took("a", 1.0);
        }
        assert_eq!(timing.evaluation("a"), Some(20.0), "faster only when it is measured");
    }
}
