//! One function per verb.

mod backtest;
mod bench;
mod calibrate;
mod data;
mod demo;
mod eval;
mod export;
mod guard;
mod import;
mod law;
mod ledger;
mod plan;
mod prices;
mod report;
mod run;
mod status;

use std::io;
use std::path::Path;

use clap::CommandFactory;

use crate::cli::{Cli, Command, DataCommand, PricesCommand};
use crate::failure::{Exit, Failure};
use crate::output::Printer;

/// The planner has no clock; the door does.
fn today() -> chrono::NaiveDate {
    chrono::Utc::now().date_naive()
}

/// Carries one command line out.
pub(crate) fn dispatch(cli: Cli, printer: Printer) -> Result<Exit, Failure> {
    match cli.command {
        Command::Plan(args) => plan::plan(&args, printer),
        Command::Run(args) => run::run(&args, printer),
        Command::Guard(args) => guard::guard(&args, printer),
        Command::Keeper(args) => guard::keeper(&args),
        Command::Status(args) => status::status(&args, printer),
        Command::Ledger(command) => ledger::ledger(&command, printer),
        Command::Report(args) => report::report(&args, printer),
        Command::Data(DataCommand::Synth(args)) => data::synth(&args, printer),
        Command::Data(DataCommand::Inspect(args)) => data::inspect(&args, printer),
        Command::Data(DataCommand::Repack(args)) => data::repack(&args, printer),
        Command::Data(DataCommand::Tokenize(args)) => data::tokenize(&args, printer),
        Command::Eval(args) => eval::eval(&args, printer),
        Command::Export(args) => export::export(&args, printer),
        Command::Import(args) => import::import(&args, printer),
        Command::Bench(args) => bench::bench(&args, printer),
        Command::Calibrate(args) => calibrate::calibrate(&args, printer),
        Command::Prices(PricesCommand::List(args)) => prices::list(&args, printer),
        Command::Prices(PricesCommand::Update(args)) => prices::update(&args, printer),
        Command::Prices(PricesCommand::Import(args)) => prices::import(&args, printer),
        Command::Prices(PricesCommand::Diff(args)) => prices::diff(&args, printer),
        Command::Law(args) => law::law(&args, printer),
        Command::Backtest(args) => backtest::backtest(&args, printer),
        Command::Demo(args) => demo::demo(&args, printer),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "shoestring", &mut io::stdout());
            Ok(Exit::Success)
        }
    }
}

/// The text of a file that the user named.
fn read_text(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => "check the path",
            io::ErrorKind::InvalidData => "the file is not UTF-8 text",
            _ => "check that the file can be read",
        };
        Failure::new(Exit::Failure, anyhow::anyhow!("{}: {error}", path.display())).hint(hint.to_owned())
    })
}
