//! A budget shared by many runs: its own file and journal, nested in others, spent from by several processes.
//!
//! # What is guaranteed
//! - A reserve is made at every level (project > sweep > run) or at none; where one has no room, it is named.
//! - Every change happens under the operating system's locks on the journals, outermost first, so that no two
//!   processes wait for each other; the locks end with their process however that ends.
//! - At every moment an outer level has at least as much spent as what its inner ones took from it: reserves are
//!   written from the outside in, settlements from the inside out (those above their reserve from the outside in).
//!
//! # A holder that dies
//! Each process keeps a locked file in `NAME.holders/`. What it had reserved when it died stays spent, and is
//! charged in full by the next process that opens the budget: no more can have been used, since a quantum never
//! runs longer than its reserve pays for without a new one.
//!
//! # Network file systems
//! Their locks may hold on one machine only, or outlive their process. A budget there is refused, unless its file
//! says `trust_network_locks = true`.

mod holder;
mod level;
mod place;
mod terms;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use shoestring_planner::units::Usd;

use self::holder::Holder;
use self::level::Level;
pub(crate) use self::place::network_file_system;
pub use self::terms::{BUDGET_VERSION, BudgetTerms, Rate, Threshold};
use crate::account::{Account, crossed};
use crate::clock::Clock;
use crate::disk::{Disk, LocalDisk};
use crate::error::LedgerError;
use crate::guard::{Refused, ReserveError};
use crate::journal;
use crate::kind::{Kind, Purpose};
use crate::row::{Draft, Row};

/// How long a lock is asked for, while nobody adds a row, before it is an error. A row takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// Budgets within budgets, at most; more is a circle.
const DEEPEST: usize = 16;

/// For what money is set aside.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// Name of the run.
    pub run: String,
    /// Name of the stage; empty outside stages.
    pub stage: String,
    /// Global step at the time.
    pub step: u64,
    /// What the money is for.
    pub purpose: Purpose,
    /// How much.
    pub amount: Usd,
    /// Wall-clock seconds that it pays for.
    pub seconds: Option<f64>,
    /// Price of everything together, per hour.
    pub usd_per_hour: Option<Usd>,
    /// Where the price is from.
    pub price_source: String,
    /// Day, month or year of the price.
    pub price_as_of: Option<String>,
}

/// Money set aside at every level. Hand it back to [`SharedBudget::settle`] or [`SharedBudget::release`]; dropped,
/// it stays spent, as after a crash.
#[derive(Debug)]
#[must_use = "an unsettled share is charged in full"]
pub struct Share {
    claim: Claim,
    /// The number of its quantum at each level, outermost first.
    numbers: Vec<u64>,
}

impl Share {
    /// What was set aside.
    #[must_use]
    pub fn amount(&self) -> Usd {
        self.claim.amount
    }
}

/// A threshold that was crossed just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Name of the budget.
    pub budget: String,
    /// The threshold, in percent of the cap.
    pub at_percent: u32,
    /// What is spent.
    pub spent: Usd,
    /// The cap.
    pub cap: Usd,
    /// The command for the shell that belongs to it.
    pub hook: Option<String>,
}

/// One level of a budget, as it was last read.
#[derive(Clone, Debug, PartialEq)]
pub struct LevelState {
    /// Its file.
    pub path: PathBuf,
    /// What its file says.
    pub terms: BudgetTerms,
    /// The sums of its journal.
    pub account: Account,
}

/// The levels of the budget at `path`, outermost first, as they stand on disk; changes nothing.
pub fn look(path: &Path) -> Result<Vec<LevelState>, LedgerError> {
    let state = |(path, terms): (PathBuf, BudgetTerms)| {
        let account = journal::read(&BudgetTerms::journal(&path))?.account;
        Ok(LevelState { path, terms, account })
    };
    level::chain(&LocalDisk, path)?.into_iter().map(state).collect()
}

/// An open budget with all budgets that it is a part of.
#[derive(Debug)]
pub struct SharedBudget {
    /// Outermost first.
    levels: Vec<Level>,
    holder: Holder,
    clock: Arc<dyn Clock>,
    patience: Duration,
}

impl SharedBudget {
    /// Makes a budget: its file and its journal. Refuses a file that is there already.
    pub fn create(path: &Path, terms: &BudgetTerms, clock: Arc<dyn Clock>) -> Result<Self, LedgerError> {
        if path.exists() {
            return Err(LedgerError::budget(path, "", "is there already; `set-cap` changes a cap"));
        }
        terms.check(path)?;
        let text = terms.text(path)?;
        // The file is only written once what it names can be opened.
        if let Some(parent) = &terms.parent {
            level::chain(&LocalDisk, &folder_of(path).join(parent))?;
        }
        shoestring_durable::write_file(path, text.as_bytes())
            .map_err(|error| LedgerError::io(&error.path, error.source))?;
        Self::open(path, clock).map(|(budget, _)| budget)
    }

    /// Opens the budget at `path` and all that it is a part of; makes a journal that is missing. Charges what dead
    /// holders had reserved, and takes in a cap that was changed in a file. Returns also what is worth telling.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<(Self, Vec<String>), LedgerError> {
        Self::open_on(&(Arc::new(LocalDisk) as Arc<dyn Disk>), path, clock)
    }

    /// The same on another disk.
    pub(crate) fn open_on(
        disk: &Arc<dyn Disk>,
        path: &Path,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Vec<String>), LedgerError> {
        let mut told = Vec::new();
        let chain = level::chain(&**disk, path)?;
        for (path, terms) in &chain {
            if let Some(kind) = disk.network(folder_of(path)) {
                if !terms.trust_network_locks {
                    return Err(LedgerError::Network { path: path.clone(), kind });
                }
                told.push(format!(
                    "{}: relies on the locks of a network file system ({kind})",
                    path.display()
                ));
            }
        }
        let holder = Holder::new(clock.now());
        let levels = chain
            .into_iter()
            .map(|(path, terms)| Level::open(disk, path, terms, &holder))
            .collect::<Result<Vec<_>, _>>()?;
        let mut budget = Self { levels, holder, clock, patience: PATIENCE };
        let (now, own) = (budget.clock.now(), budget.holder.name().to_owned());
        let more = budget.locked(|levels| {
            let mut told = Vec::new();
            for level in levels {
                level.take_in_terms(now, &mut told)?;
                level.charge_the_dead(now, &own, &mut told)?;
            }
            Ok(told)
        })?;
        told.extend(more);
        Ok((budget, told))
    }

    /// How long locks are asked for from here on, while nobody adds a row. Time in which the process or its whole
    /// machine stood still does not count.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Names this process in the rows of its reserves.
    #[must_use]
    pub fn holder(&self) -> &str {
        self.holder.name()
    }

    /// Name of the innermost budget.
    #[must_use]
    pub fn name(&self) -> &str {
        self.levels.last().map_or("", |level| level.terms.name.as_str())
    }

    /// All levels as they were last read, outermost first.
    #[must_use]
    pub fn levels(&self) -> Vec<LevelState> {
        let state = |level: &Level| LevelState {
            path: level.path.clone(),
            terms: level.terms.clone(),
            account: level.journal.account().clone(),
        };
        self.levels.iter().map(state).collect()
    }

    /// The rows of the innermost budget as it was last read.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        self.levels.last().map_or(&[], |level| level.journal.rows())
    }

    /// Reads what other processes wrote.
    pub fn refresh(&mut self) -> Result<(), LedgerError> {
        self.locked(|_| Ok(()))
    }

    /// The least that any level has left, as it was last read; other processes may take it at any moment.
    #[must_use]
    pub fn left(&self) -> Usd {
        self.levels.iter().map(|level| level.journal.account().left()).min().unwrap_or_default()
    }

    /// Sets money aside at every level if it fits at each together with `hold`, or at none; the refusal names the
    /// innermost level that has no room. The rows are on disk when this returns.
    pub fn reserve(&mut self, claim: Claim, hold: Usd) -> Result<Share, ReserveError> {
        let (now, holder) = (self.clock.now(), self.holder.name().to_owned());
        let claim = Claim { amount: claim.amount.max(Usd::ZERO), ..claim };
        let need = claim.amount + hold.max(Usd::ZERO);
        let numbers = self.locked(|levels| {
            for level in levels.iter().rev() {
                level.know_all()?;
                let left = level.journal.account().left();
                if need > left {
                    let level = Some(level.terms.name.as_str().into());
                    return Ok(Err(Refused { need, left, level }));
                }
            }
            let mut numbers = Vec::new();
            for index in 0..levels.len() {
                let draft = Draft { holder: holder.clone(), ..draft(&claim, Kind::Reserve, now) };
                match levels[index].reserve(draft) {
                    Ok(number) => numbers.push(number),
                    Err(error) => {
                        // Nothing was started: what the outer levels have set aside goes back, later if not now.
                        for (level, number) in levels.iter_mut().zip(&numbers) {
                            let back = draft_back(&claim, *number, now);
                            level.owe(back);
                        }
                        return Err(error);
                    }
                }
            }
            Ok(Ok(numbers))
        })??;
        Ok(Share { claim, numbers })
    }

    /// Charges `used` to a share: at most what was set aside and what is left at every level. `record` writes the
    /// same charge to the run's own ledger, as the innermost of all. Returns what was charged.
    ///
    /// A row that cannot be written now (a full disk) is written by the next change; should the process end before
    /// that, the share is charged in full.
    pub fn settle(
        &mut self,
        share: Share,
        step: u64,
        used: Usd,
        seconds: f64,
        record: impl FnOnce(Usd) -> Result<(), LedgerError>,
    ) -> Result<Usd, LedgerError> {
        let now = self.clock.now();
        let Share { claim, numbers } = share;
        self.locked(|levels| {
            let left = levels.iter().map(|level| level.journal.account().left()).min().unwrap_or_default();
            let charged = used.min(claim.amount + left);
            // A crash in the middle leaves reserves in the journals that were not reached, and they will be
            // charged in full. So that outer ones never end up below inner ones, what is less than its reserve
            // goes from the inside out, and what is more from the outside in.
            let more = charged > claim.amount;
            let note = if used > charged { format!("the clock says {used} USD") } else { String::new() };
            let settle = |(level, number): (&mut Level, u64)| {
                level.owe(Draft {
                    quantum: number,
                    amount: Some(charged),
                    seconds: Some(seconds),
                    step,
                    note: note.clone(),
                    ..draft(&claim, Kind::Settle, now)
                });
                level.pay()
            };
            let each = levels.iter_mut().zip(numbers);
            if more {
                each.map(settle).collect::<Vec<_>>().into_iter().collect::<Result<(), _>>()?;
                record(charged)?;
            } else {
                record(charged)?;
                each.rev().map(settle).collect::<Vec<_>>().into_iter().collect::<Result<(), _>>()?;
            }
            Ok(charged)
        })
    }

    /// Gives a share back unspent: its work never started.
    pub fn release(&mut self, share: Share) -> Result<(), LedgerError> {
        let now = self.clock.now();
        let Share { claim, numbers } = share;
        self.locked(|levels| {
            let mut result = Ok(());
            for (level, number) in levels.iter_mut().zip(numbers).rev() {
                level.owe(draft_back(&claim, number, now));
                if let Err(error) = level.pay() {
                    result = Err(error);
                }
            }
            result
        })
    }

    /// Charges without a reserve: at most what is left at every level. `record` as in [`SharedBudget::settle`].
    /// Returns what was charged.
    pub fn spend(
        &mut self,
        claim: &Claim,
        note: &str,
        record: impl FnOnce(Usd) -> Result<(), LedgerError>,
    ) -> Result<Usd, LedgerError> {
        let now = self.clock.now();
        self.locked(|levels| {
            let left = levels.iter().map(|level| level.journal.account().left()).min().unwrap_or_default();
            let charged = claim.amount.max(Usd::ZERO).min(left);
            for level in levels.iter_mut() {
                let amount = Some(charged);
                level.append(Draft { amount, note: note.to_owned(), ..draft(claim, Kind::Spend, now) })?;
            }
            record(charged)?;
            Ok(charged)
        })
    }

    /// Adds a row of a fact (`import`, `adjust`, `note`) at every level.
    pub fn state(&mut self, draft: &Draft) -> Result<(), LedgerError> {
        self.locked(|levels| {
            // Checked everywhere before it is written anywhere.
            for level in levels.iter() {
                level.check(draft)?;
            }
            levels.iter_mut().try_for_each(|level| level.append(draft.clone()))
        })
    }

    /// Adds an adjustment of a row of the innermost budget, and of the same row where outer ones have it.
    pub fn adjust(&mut self, draft: &Draft) -> Result<(), LedgerError> {
        let of = draft.of.and_then(|seq| self.rows().get(usize::try_from(seq).ok()?).cloned());
        self.locked(|levels| {
            let drafts: Vec<Draft> = levels
                .iter()
                .map(|level| Draft { of: of.as_ref().and_then(|row| level.same_row(row)), ..draft.clone() })
                .collect();
            for (level, draft) in levels.iter().zip(&drafts) {
                level.check(draft)?;
            }
            levels.iter_mut().zip(drafts).try_for_each(|(level, draft)| level.append(draft))
        })
    }

    /// Changes the cap of the innermost budget, in its file and its journal. Refused below what is spent. Returns
    /// the cap before.
    pub fn set_cap(&mut self, cap: Usd) -> Result<Usd, LedgerError> {
        let now = self.clock.now();
        self.locked(|levels| {
            let Some(level) = levels.last_mut() else { return Ok(Usd::ZERO) };
            let (before, spent) = (level.journal.account().cap(), level.journal.account().spent());
            if cap < spent || cap < Usd::ZERO {
                return Err(LedgerError::CapBelowSpent { path: level.path.clone(), cap, spent });
            }
            // Should the process die in between, the next one takes in what the file says: for a higher cap the
            // file goes first; a lower one must hold for everybody before it stands there, or they may have spent
            // more by then and it would be refused.
            if cap < before {
                level.change_cap(cap, now, &mut Vec::new())?;
            }
            level.write_cap(cap)?;
            level.take_in_terms(now, &mut Vec::new())?;
            Ok(before)
        })
    }

    /// Thresholds that are crossed and were not told before; each is told to one process only, once.
    pub fn warnings(&mut self) -> Result<Vec<Warning>, LedgerError> {
        // Most of the time none is due, and then there is nothing to lock.
        if self.levels.iter().all(|level| level.due().is_empty()) {
            return Ok(Vec::new());
        }
        let now = self.clock.now();
        self.locked(|levels| {
            let mut warnings = Vec::new();
            for level in levels {
                for threshold in level.due() {
                    let (spent, cap) = (level.journal.account().spent(), level.journal.account().cap());
                    level.append(Draft {
                        step: u64::from(threshold.at_percent),
                        note: format!("{} % of the cap: {spent} of {cap} USD", threshold.at_percent),
                        ..Draft::new(Kind::Warn, now)
                    })?;
                    warnings.push(Warning {
                        budget: level.terms.name.clone(),
                        at_percent: threshold.at_percent,
                        spent,
                        cap,
                        hook: threshold.hook,
                    });
                }
            }
            Ok(warnings)
        })
    }

    /// Does `work` with all levels locked and read to their end.
    fn locked<T>(
        &mut self,
        work: impl FnOnce(&mut [Level]) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let (clock, patience) = (Arc::clone(&self.clock), self.patience);
        let mut result = Ok(());
        let mut taken = 0;
        for level in &mut self.levels {
            result = level.lock(&*clock, patience);
            if result.is_err() {
                break;
            }
            taken += 1;
        }
        let result = result
            .and_then(|()| self.levels.iter_mut().try_for_each(Level::catch_up))
            .and_then(|()| work(&mut self.levels));
        for level in self.levels[..taken].iter().rev() {
            level.journal.unlock()?;
        }
        result
    }
}

fn draft(claim: &Claim, kind: Kind, now: DateTime<Utc>) -> Draft {
    Draft {
        run: claim.run.clone(),
        stage: claim.stage.clone(),
        step: claim.step,
        purpose: claim.purpose,
        amount: Some(claim.amount),
        seconds: claim.seconds,
        usd_per_hour: claim.usd_per_hour,
        price_source: claim.price_source.clone(),
        price_as_of: claim.price_as_of.clone(),
        ..Draft::new(kind, now)
    }
}

fn draft_back(claim: &Claim, quantum: u64, now: DateTime<Utc>) -> Draft {
    Draft { quantum, amount: Some(Usd::ZERO), seconds: Some(0.0), ..draft(claim, Kind::Release, now) }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests;
