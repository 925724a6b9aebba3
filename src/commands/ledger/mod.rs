//! `ledger`: what happened to money, and the budgets that many runs share.

mod adjust;
mod budget;
mod export;
mod import;
mod place;
mod reconcile;
mod show;
mod verify;

use std::io::ErrorKind;

use shoestring_ledger::LedgerError;

use crate::cli::{LedgerBudgetCommand, LedgerCommand};
use crate::failure::{Exit, Failure};
use crate::output::Printer;

pub(crate) fn ledger(command: &LedgerCommand, printer: Printer) -> Result<Exit, Failure> {
    match command {
        LedgerCommand::Show(args) => show::show(args, printer),
        LedgerCommand::Verify(args) => verify::verify(args, printer),
        LedgerCommand::Export(args) => export::export(args, printer),
        LedgerCommand::Import(args) => import::import(args, printer),
        LedgerCommand::Adjust(args) => adjust::adjust(args, printer),
        LedgerCommand::Reconcile(args) => reconcile::reconcile(args, printer),
        LedgerCommand::Budget(LedgerBudgetCommand::Create(args)) => budget::create(args, printer),
        LedgerCommand::Budget(LedgerBudgetCommand::Show(args)) => budget::show(args, printer),
        LedgerCommand::Budget(LedgerBudgetCommand::SetCap(args)) => budget::set_cap(args, printer),
    }
}

fn failure(error: LedgerError) -> Failure {
    let missing = matches!(&error, LedgerError::Io { source, .. } if source.kind() == ErrorKind::NotFound);
    let hint = if missing {
        Some(
            "name a run directory (one that `shoestring run` made, with a ledger.jsonl in it), a ledger or a \
             budget file"
                .to_owned(),
        )
    } else {
        error.hint()
    };
    let exit = if matches!(&error, LedgerError::Budget { .. }) { Exit::Usage } else { Exit::Failure };
    Failure::new(exit, error).hint(hint)
}
