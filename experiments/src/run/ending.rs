//! How a course ends: what is still written and measured, and what is said about it.

use shoestring_ledger::{Account, Kind, Row};

use super::checkpoint;
use super::course::{Course, Halt, total_steps};
use super::directory::RunDirectory;
use super::error::RunError;
use super::evaluate::EvaluationEnd;
use super::start::{Outcome, Summary};
use crate::records::{EvaluationLine, read_lines};
use shoestring_planner::recipe::Recipe;
use shoestring_planner::units::Usd;

/// The notes of the ledger's `end` rows.
const FINISHED: &str = "finished";
const CAP_REACHED: &str = "cap_reached";
pub(crate) const INTERRUPTED: &str = "interrupted";

/// How a process let go of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Finished,
    CapReached,
    Interrupted,
}

impl Ended {
    pub(crate) fn note(self) -> &'static str {
        match self {
            Self::Finished => FINISHED,
            Self::CapReached => CAP_REACHED,
            Self::Interrupted => INTERRUPTED,
        }
    }

    /// How the last process let go, by the ledger; `None` where one is at work or died at it.
    ///
    /// Money that was spent elsewhere, and corrections, say nothing of the process and may come at any time. Only a
    /// credit after the cap was reached is room for more, so that the same command goes on.
    pub(crate) fn of(rows: &[Row]) -> Option<Self> {
        let of_a_process =
            |row: &Row| !matches!(row.kind, Kind::Note | Kind::Warn | Kind::Import | Kind::Adjust);
        let at = rows.iter().rposition(of_a_process)?;
        if rows[at].kind != Kind::End {
            return None;
        }
        let ended = [Self::Finished, Self::CapReached, Self::Interrupted]
            .into_iter()
            .find(|ended| ended.note() == rows[at].note)?;
        let since: Usd = rows[at + 1..].iter().filter_map(|row| row.amount).sum();
        Some(if ended == Self::CapReached && since < Usd::ZERO { Self::Interrupted } else { ended })
    }

    pub(crate) fn outcome(self, summary: Summary) -> Outcome {
        match self {
            Self::Finished => Outcome::Finished(summary),
            Self::CapReached => Outcome::CapReached(summary),
            Self::Interrupted => Outcome::Interrupted(summary),
        }
    }
}

impl Course<'_> {
    /// Does what a halt asks for: the last checkpoint, the last evaluation, the last row.
    pub(crate) fn end(&mut self, halt: Halt) -> Result<Ended, RunError> {
        self.say_bad_samples();
        let ended = match halt {
            Halt::Stopped => {
                self.say("stopping: writing a checkpoint");
                self.last_checkpoint()?;
                Ended::Interrupted
            }
            Halt::Paused => {
                let spent = self.till.with(|guard| guard.account().spent());
                self.say(&format!("{spent} USD are spent, more would be beyond what was asked for"));
                self.last_checkpoint()?;
                Ended::Interrupted
            }
            Halt::CapReached(refused) => {
                let step = self.position.step;
                self.say(&format!("the cap is reached after step {step}: {refused}"));
                let saved = self.last_checkpoint()?;
                match self.evaluate(true)? {
                    // The same command comes back to this point and evaluates.
                    EvaluationEnd::Stopped if saved => Ended::Interrupted,
                    _ => Ended::CapReached,
                }
            }
            Halt::Finished => {
                let saved = self.last_checkpoint()?;
                let planned = total_steps(self.recipe);
                let short = self.position.step < planned;
                if short {
                    let step = self.position.step;
                    self.say(&format!(
                        "the budget is used: {step} of {planned} planned steps, annealed to the end"
                    ));
                }
                match self.evaluate(true)? {
                    EvaluationEnd::Done if saved && !short => Ended::Finished,
                    EvaluationEnd::Stopped if saved => Ended::Interrupted,
                    _ => Ended::CapReached,
                }
            }
        };
        let stage = &self.stage().name;
        self.till.with(|guard| guard.end(stage, self.position.step, ended.note()))?;
        Ok(ended)
    }

    /// Whether the work is in a checkpoint now.
    fn last_checkpoint(&mut self) -> Result<bool, RunError> {
        if !self.needs_checkpoint() || self.checkpoint(None)? {
            return Ok(true);
        }
        let newest = self.last_checkpoint.as_ref().map_or(0, |(step, _)| *step);
        self.say(&format!("no money is left for a checkpoint; the newest is of step {newest}"));
        Ok(false)
    }
}

/// What a run came to, from its files.
pub(crate) fn summary(
    recipe: &Recipe,
    directory: &RunDirectory,
    account: &Account,
) -> Result<Summary, RunError> {
    let checkpoint = checkpoint::list(&directory.checkpoints())?.pop();
    let state = checkpoint.as_ref().and_then(|checkpoint| checkpoint::read_state(&checkpoint.path).ok());
    let path = directory.evaluations();
    let evaluations: Vec<EvaluationLine> =
        read_lines(&path).map_err(|source| RunError::file(&path, "read", source))?;
    Ok(Summary {
        directory: directory.root().to_owned(),
        spent: account.spent(),
        cap: account.cap(),
        seconds: account.spending().iter().map(|one| one.seconds).sum(),
        step: state.as_ref().map_or(0, |state| state.step),
        steps: total_steps(recipe),
        samples_seen: state.as_ref().map_or(0, |state| state.samples_seen),
        checkpoint: checkpoint.map(|checkpoint| checkpoint.path),
        evaluation: evaluations.into_iter().last(),
        resumed_from: None,
        already_ended: false,
    })
}
