//! The command line as data: one file per verb with its flags, and how their values are read.

mod bench;
mod data;
mod law;
mod ledger;
mod models;
mod plan;
mod prices;
mod report;
mod run;
mod values;

use clap::{Parser, Subcommand, ValueEnum};

pub(crate) use bench::{BenchArgs, CalibrateArgs};
pub(crate) use data::{DataCommand, InspectArgs, RepackArgs, SynthArgs, TokenizeArgs};
pub(crate) use law::{BacktestArgs, LawArgs, LawCommand, LawFitArgs};
pub(crate) use ledger::{
    BudgetCreateArgs, BudgetSetCapArgs, BudgetShowArgs, LedgerAdjustArgs, LedgerBudgetCommand, LedgerBy,
    LedgerCommand, LedgerExportArgs, LedgerImportArgs, LedgerReconcileArgs, LedgerShowArgs, LedgerVerifyArgs,
};
pub(crate) use models::{EvalArgs, ExportArgs, ImportArgs, LongPrompts, Target, Task};
pub(crate) use plan::{PlanArgs, PlanFormat};
pub(crate) use prices::{
    PricesCommand, PricesDiffArgs, PricesFormat, PricesImportArgs, PricesListArgs, PricesSort, PricesSource,
    PricesUpdateArgs,
};
pub(crate) use report::ReportArgs;
pub(crate) use run::{Bill, DemoArgs, GuardArgs, KeeperArgs, LogFormat, RunArgs, StatusArgs};

/// Dollars in, the best CLIP model they can buy out: plan, train, account, report.
#[derive(Parser, Debug)]
#[command(version, about, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 success, 1 failure, 2 wrong usage, 3 no feasible plan, \
    4 cap reached (a checkpoint is there), 5 partial results, 6 an invoice differs or a budget's threshold is crossed, \
    75 stopped by a signal (same command resumes).")]
pub(crate) struct Cli {
    /// No progress bars and no notes on stderr; errors are still shown.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Turn a budget into a recipe: architecture, token lengths, stages, hardware, cost, expected accuracy.
    Plan(Box<PlanArgs>),
    /// Carry a recipe out under its cap; the same command again resumes.
    Run(RunArgs),
    /// Any other command under a cap: warned before the end, stopped at it with everything it started.
    Guard(GuardArgs),
    /// What `guard` starts to keep its command.
    #[command(hide = true)]
    Keeper(KeeperArgs),
    /// Where runs stand: stage, progress, spent of cap, accuracy.
    Status(StatusArgs),
    /// What happened to the money of runs, and the budgets that they share.
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Tables and charts of any number of runs, and of what the budget can buy, in one page.
    Report(ReportArgs),
    /// Data sets.
    #[command(subcommand)]
    Data(DataCommand),
    /// How good a model is: zero-shot classification, linear probe, retrieval.
    Eval(Box<EvalArgs>),
    /// A trained model in the format of open_clip or Hugging Face, with a model card.
    Export(ExportArgs),
    /// A published model (open_clip, Hugging Face, PyTorch weights) as a folder that a recipe can start from.
    Import(ImportArgs),
    /// Measure this machine with real training steps, for plans with `--offer this-machine`.
    Calibrate(CalibrateArgs),
    /// Time training steps of known shapes on this machine, and how far from its products' peak they are.
    Bench(BenchArgs),
    /// Hardware prices.
    #[command(subcommand)]
    Prices(PricesCommand),
    /// The inverse scaling law: the shortest token lengths that an architecture tolerates; `law fit` fits it.
    Law(LawArgs),
    /// How wrong the planner has been: published runs predicted by laws that have not seen them.
    Backtest(BacktestArgs),
    /// The tour: these verbs one after the other on this machine, in under five minutes.
    Demo(DemoArgs),
    /// Shell completions on stdout.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// How facts are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people; may change.
    #[default]
    Text,
    /// One object with `schema` and `version`; keys are only ever added.
    Json,
}

/// How a table is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum TableFormat {
    /// For people; may change.
    #[default]
    Text,
    /// One object with `schema` and `version`; keys are only ever added.
    Json,
    /// One line a prediction, with a header.
    Csv,
}
