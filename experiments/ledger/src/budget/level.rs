//! One level: a budget file with its journal, and what this process still has to write to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use shoestring_planner::units::Usd;

use super::holder::{self, Holder};
use super::terms::{BudgetTerms, Threshold};
use super::{DEEPEST, crossed, folder_of};
use crate::clock::Clock;
use crate::disk::{Disk, Hold};
use crate::error::LedgerError;
use crate::journal::Journal;
use crate::kind::Kind;
use crate::row::{Draft, Row};

/// The budget files from the outermost to the one at `path`.
pub(super) fn chain(disk: &dyn Disk, path: &Path) -> Result<Vec<(PathBuf, BudgetTerms)>, LedgerError> {
    let mut chain = Vec::new();
    let mut next = Some(path.to_owned());
    while let Some(path) = next {
        let terms = BudgetTerms::read_on(disk, &path)?;
        if chain.len() == DEEPEST {
            let problem = format!("more than {DEEPEST} budgets within each other: a circle?");
            return Err(LedgerError::budget(&path, "parent", problem));
        }
        next = terms.parent.as_ref().map(|parent| folder_of(&path).join(parent));
        chain.push((path, terms));
    }
    chain.reverse();
    Ok(chain)
}

#[derive(Debug)]
pub(super) struct Level {
    pub(super) path: PathBuf,
    pub(super) terms: BudgetTerms,
    pub(super) journal: Journal,
    holders: PathBuf,
    /// Rows that are due but could not be written yet, oldest first.
    owed: Vec<Draft>,
    disk: Arc<dyn Disk>,
    _hold: Box<dyn Hold>,
}

impl Level {
    pub(super) fn open(
        disk: &Arc<dyn Disk>,
        path: PathBuf,
        terms: BudgetTerms,
        holder: &Holder,
    ) -> Result<Self, LedgerError> {
        let holders = BudgetTerms::holders(&path);
        let hold = disk
            .hold(&holder::file(&holders, holder.name()))
            .map_err(|source| LedgerError::io(&holders, source))?;
        let journal = Journal::shared(&**disk, &BudgetTerms::journal(&path))?;
        Ok(Self { path, terms, journal, holders, owed: Vec::new(), disk: Arc::clone(disk), _hold: hold })
    }

    pub(super) fn lock(&self, clock: &dyn Clock, patience: Duration) -> Result<(), LedgerError> {
        if self.journal.lock(clock, patience)? {
            return Ok(());
        }
        Err(LedgerError::Locked {
            path: self.journal.path().to_owned(),
            seconds: patience.as_secs(),
            holders: self.disk.living(&self.holders).join(", "),
        })
    }

    /// Under the lock: reads what others wrote, and writes what could not be written before.
    pub(super) fn catch_up(&mut self) -> Result<(), LedgerError> {
        self.journal.refresh()?;
        self.pay()
    }

    /// Remembers a row that has to be written.
    pub(super) fn owe(&mut self, draft: Draft) {
        self.owed.push(draft);
    }

    /// Writes the rows that are due.
    pub(super) fn pay(&mut self) -> Result<(), LedgerError> {
        while let Some(draft) = self.owed.first() {
            self.journal.append(draft.clone())?;
            self.owed.remove(0);
        }
        Ok(())
    }

    pub(super) fn append(&mut self, draft: Draft) -> Result<(), LedgerError> {
        self.journal.append(draft).map(|_| ())
    }

    /// Whether a row would follow.
    pub(super) fn check(&self, draft: &Draft) -> Result<(), LedgerError> {
        self.journal.check(draft.clone())
    }

    /// Sets money aside; returns the number of the quantum.
    pub(super) fn reserve(&mut self, draft: Draft) -> Result<u64, LedgerError> {
        let quantum = self.journal.account().quanta() + 1;
        self.append(Draft { quantum, ..draft })?;
        Ok(quantum)
    }

    /// Refuses where a row's amount is unknown.
    pub(super) fn know_all(&self) -> Result<(), LedgerError> {
        match self.journal.account().unknown().first() {
            Some(&seq) => Err(LedgerError::SpendUnknown {
                path: self.journal.path().to_owned(),
                line: usize::try_from(seq).unwrap_or(usize::MAX).saturating_add(1),
            }),
            None => Ok(()),
        }
    }

    /// Opens a new journal, or takes in the cap that the file states now.
    pub(super) fn take_in_terms(
        &mut self,
        now: DateTime<Utc>,
        told: &mut Vec<String>,
    ) -> Result<(), LedgerError> {
        // Read again under the lock: what was read before may be of before somebody else's change.
        self.terms = BudgetTerms::read_on(&*self.disk, &self.path)?;
        let (cap, name) = (self.terms.cap_usd, self.terms.name.clone());
        if self.journal.rows().is_empty() {
            return self.append(Draft { run: name, amount: Some(cap), ..Draft::new(Kind::Open, now) });
        }
        let (before, spent) = (self.journal.account().cap(), self.journal.account().spent());
        if cap == before {
            return Ok(());
        }
        if cap < spent {
            return Err(LedgerError::CapBelowSpent { path: self.path.clone(), cap, spent });
        }
        self.change_cap(cap, now, told)
    }

    /// Puts another cap into the file.
    pub(super) fn write_cap(&self, cap: Usd) -> Result<(), LedgerError> {
        let text = BudgetTerms::text_with_cap(&*self.disk, &self.path, cap)?;
        self.disk
            .write_whole(&self.path, text.as_bytes())
            .map_err(|error| LedgerError::io(&error.path, error.source))
    }

    /// Writes down that the cap is another from here on.
    pub(super) fn change_cap(
        &mut self,
        cap: Usd,
        now: DateTime<Utc>,
        told: &mut Vec<String>,
    ) -> Result<(), LedgerError> {
        let (before, name) = (self.journal.account().cap(), self.terms.name.clone());
        let direction = if cap > before { "raised" } else { "lowered" };
        let note = format!("the cap is {direction} from {before} to {cap} USD");
        told.push(format!("{name}: {note}"));
        self.append(Draft { run: name, amount: Some(cap), note, ..Draft::new(Kind::Cap, now) })
    }

    /// Charges in full what holders had reserved who are gone.
    pub(super) fn charge_the_dead(
        &mut self,
        now: DateTime<Utc>,
        own: &str,
        told: &mut Vec<String>,
    ) -> Result<(), LedgerError> {
        let held: Vec<_> = self.journal.account().held().iter().map(|(&n, one)| (n, one.clone())).collect();
        for (quantum, reserve) in held {
            if reserve.holder == own || !self.disk.is_gone(&holder::file(&self.holders, &reserve.holder)) {
                continue;
            }
            let Some(row) = usize::try_from(reserve.seq).ok().and_then(|seq| self.journal.rows().get(seq))
            else {
                continue;
            };
            let draft = Draft {
                run: row.run.clone(),
                stage: row.stage.clone(),
                step: row.step,
                purpose: row.purpose,
                amount: Some(reserve.amount),
                quantum,
                seconds: row.seconds,
                usd_per_hour: row.usd_per_hour,
                price_source: row.price_source.clone(),
                price_as_of: row.price_as_of.clone(),
                note: format!("{} is gone: charged in full", reserve.holder),
                ..Draft::new(Kind::Settle, now)
            };
            told.push(format!(
                "{}: {} USD that {} had reserved when it ended are charged in full",
                self.terms.name, reserve.amount, reserve.holder
            ));
            self.append(draft)?;
        }
        Ok(())
    }

    /// Thresholds that are crossed and were not told.
    pub(super) fn due(&self) -> Vec<Threshold> {
        let account = self.journal.account();
        self.terms
            .warn
            .iter()
            .filter(|one| !account.warned().contains(&one.at_percent))
            .filter(|one| crossed(one.at_percent, account.spent(), account.cap()))
            .cloned()
            .collect()
    }

    /// `seq` of the row here that says the same as `row` of another level.
    pub(super) fn same_row(&self, row: &Row) -> Option<u64> {
        let same = |one: &&Row| {
            one.time == row.time
                && one.kind == row.kind
                && one.run == row.run
                && one.note == row.note
                && one.bought == row.bought
        };
        self.journal.rows().iter().find(same).map(|one| one.seq)
    }
}
