//! What `ledger` takes.

use std::path::PathBuf;

use chrono::{DateTime, FixedOffset, Utc};
use clap::{Args, Subcommand, ValueEnum};
use shoestring_ledger::{Purpose, Rate, Threshold};
use shoestring_planner::units::Usd;

use super::Format;
use super::values::parse_usd;

#[derive(Subcommand, Debug)]
pub(crate) enum LedgerCommand {
    /// Spend by stage and kind, and every row.
    Show(LedgerShowArgs),
    /// Check the chain of hashes and the arithmetic of every row.
    Verify(LedgerVerifyArgs),
    /// All rows, or all charges in FOCUS columns, as CSV or Parquet.
    Export(LedgerExportArgs),
    /// Write down money that was spent elsewhere.
    Import(LedgerImportArgs),
    /// Write down a correction, with its reason; nothing is ever edited.
    Adjust(LedgerAdjustArgs),
    /// Compare a provider's invoice with what was planned and recorded.
    Reconcile(LedgerReconcileArgs),
    /// One cap over many runs: create, show, change the cap.
    #[command(subcommand)]
    Budget(LedgerBudgetCommand),
}

#[derive(Args, Debug)]
pub(crate) struct LedgerShowArgs {
    /// Run directories, ledgers (`.jsonl`) or budgets (`.toml`).
    #[arg(required = true, value_name = "DIR")]
    pub(crate) places: Vec<PathBuf>,
    /// Put rows together by run, stage, day, kind or purpose.
    #[arg(long, value_enum)]
    pub(crate) by: Option<LedgerBy>,
    /// Time zone of the days, from UTC.
    #[arg(long, value_parser = parse_offset, default_value = "+00:00", allow_hyphen_values = true,
        value_name = "+HH:MM")]
    pub(crate) utc_offset: FixedOffset,
    /// Every row, not only the sums.
    #[arg(long)]
    pub(crate) rows: bool,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// What rows are put together by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LedgerBy {
    Run,
    Stage,
    Day,
    Kind,
    Purpose,
}

#[derive(Args, Debug)]
pub(crate) struct LedgerVerifyArgs {
    /// Run directories, ledgers (`.jsonl`) or budgets (`.toml`).
    #[arg(required = true, value_name = "DIR")]
    pub(crate) places: Vec<PathBuf>,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct LedgerExportArgs {
    /// Run directories, ledgers (`.jsonl`) or budgets (`.toml`).
    #[arg(required = true, value_name = "DIR")]
    pub(crate) places: Vec<PathBuf>,
    /// The file to write; `.parquet` is Parquet, anything else CSV. CSV on stdout if absent.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Charges in the columns of FOCUS 1.0 (FinOps Open Cost and Usage Specification).
    #[arg(long)]
    pub(crate) focus: bool,
    /// `BillingAccountId` of a FOCUS export.
    #[arg(long, value_name = "NAME", default_value = "unknown")]
    pub(crate) account: String,
    /// How what was done is told.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct LedgerImportArgs {
    /// A run directory, a ledger (`.jsonl`) or a budget (`.toml`).
    #[arg(value_name = "INTO")]
    pub(crate) into: PathBuf,
    /// Amount, in its currency; `unknown` if the bill is not there yet: nothing more is reserved until it is.
    #[arg(long, value_parser = parse_known, required_unless_present = "csv", conflicts_with = "csv",
        value_name = "AMOUNT")]
    pub(crate) amount: Option<Known>,
    /// Currency; others than USD need `--rate` or a rate in the budget.
    #[arg(long, default_value = "USD", value_name = "CODE")]
    pub(crate) currency: String,
    /// A fixed rate, with its date and source: `EUR=1.08@2026-11=contract`.
    #[arg(long, value_parser = parse_rate, value_name = "CODE=USD@DATE=SOURCE")]
    pub(crate) rate: Vec<Rate>,
    /// What it was spent on.
    #[arg(long, default_value = "elsewhere", value_name = "NAME")]
    pub(crate) run: String,
    /// What for.
    #[arg(long, value_parser = parse_purpose, default_value = "other", value_name = "PURPOSE")]
    pub(crate) purpose: Purpose,
    /// Who bills it.
    #[arg(long, default_value = "", value_name = "NAME")]
    pub(crate) provider: String,
    /// How much was bought.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) quantity: Option<f64>,
    /// In which unit: `h`, `GB-month`, ...
    #[arg(long, default_value = "", value_name = "UNIT")]
    pub(crate) unit: String,
    /// Price of one unit, in the currency.
    #[arg(long, value_name = "PRICE")]
    pub(crate) unit_price: Option<f64>,
    /// Where the amount or price is from.
    #[arg(long, default_value = "stated", value_name = "TEXT")]
    pub(crate) source: String,
    /// Day, month or year of the price.
    #[arg(long, value_name = "DATE")]
    pub(crate) as_of: Option<String>,
    /// When it was spent; now if absent.
    #[arg(long, value_parser = parse_time, value_name = "TIME")]
    pub(crate) at: Option<DateTime<Utc>>,
    /// For people.
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(crate) note: String,
    /// Take every line of a bill in (columns as for `reconcile`) instead of one amount.
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// An amount that may be unknown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Known(pub(crate) Option<f64>);

#[derive(Args, Debug)]
pub(crate) struct LedgerAdjustArgs {
    /// A run directory, a ledger (`.jsonl`) or a budget (`.toml`).
    #[arg(value_name = "INTO")]
    pub(crate) into: PathBuf,
    /// Dollars to add; negative for a credit.
    #[arg(long, value_parser = parse_signed, allow_hyphen_values = true, value_name = "USD")]
    pub(crate) amount: Usd,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// State the amount of this row (`seq`), which was unknown.
    #[arg(long, value_name = "SEQ")]
    pub(crate) row: Option<u64>,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct LedgerReconcileArgs {
    /// The invoice: CSV with `run` and `amount`, and as far as it has them `provider, start, end, quantity, unit,
    /// unit_price, currency, purpose, description`; or the same in FOCUS columns.
    #[arg(value_name = "INVOICE.csv")]
    pub(crate) invoice: PathBuf,
    /// Run directories, ledgers (`.jsonl`) or budgets (`.toml`).
    #[arg(required = true, value_name = "DIR")]
    pub(crate) places: Vec<PathBuf>,
    /// A fixed rate, with its date and source: `EUR=1.08@2026-11=contract`.
    #[arg(long, value_parser = parse_rate, value_name = "CODE=USD@DATE=SOURCE")]
    pub(crate) rate: Vec<Rate>,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Subcommand, Debug)]
pub(crate) enum LedgerBudgetCommand {
    /// Make a budget file with its journal.
    Create(BudgetCreateArgs),
    /// Where a budget and all that it is a part of stand.
    Show(BudgetShowArgs),
    /// Change the cap; refused below what is spent.
    SetCap(BudgetSetCapArgs),
}

#[derive(Args, Debug)]
pub(crate) struct BudgetCreateArgs {
    /// The file (`.toml`); its journal gets the same name with `.jsonl`.
    pub(crate) file: PathBuf,
    /// The number that is never exceeded.
    #[arg(long, value_parser = parse_usd, allow_hyphen_values = true, value_name = "USD")]
    pub(crate) cap: Usd,
    /// What refusals and tables call it; the file's name if absent.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The budget that it is a part of; relative to the file's folder.
    #[arg(long, value_name = "FILE")]
    pub(crate) parent: Option<PathBuf>,
    /// A soft threshold in percent of the cap, and a command to run when it is crossed: `80` or `80=COMMAND`.
    #[arg(long, value_parser = parse_threshold, value_name = "PERCENT[=COMMAND]")]
    pub(crate) warn: Vec<Threshold>,
    /// A fixed rate, with its date and source: `EUR=1.08@2026-11=contract`.
    #[arg(long, value_parser = parse_rate, value_name = "CODE=USD@DATE=SOURCE")]
    pub(crate) rate: Vec<Rate>,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct BudgetShowArgs {
    /// The budget file.
    pub(crate) file: PathBuf,
    /// End with code 6 if at any level so much of the cap is spent.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) fail_at: Option<u32>,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct BudgetSetCapArgs {
    /// The budget file.
    pub(crate) file: PathBuf,
    /// The new cap.
    #[arg(value_parser = parse_usd, allow_hyphen_values = true, value_name = "USD")]
    pub(crate) cap: Usd,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

fn parse_offset(text: &str) -> Result<FixedOffset, String> {
    if matches!(text, "Z" | "z" | "0") {
        return FixedOffset::east_opt(0).ok_or_else(String::new);
    }
    text.parse().map_err(|_| format!("`{text}` is no offset from UTC\nhint: write +05:30 or -08:00"))
}

fn parse_time(text: &str) -> Result<DateTime<Utc>, String> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.to_utc())
        .map_err(|_| format!("`{text}` is no time\nhint: write 2026-01-31T12:00:00Z"))
}

fn parse_known(text: &str) -> Result<Known, String> {
    if text == "unknown" {
        return Ok(Known(None));
    }
    match text.parse::<f64>() {
        Ok(amount) if amount.is_finite() && amount >= 0.0 => Ok(Known(Some(amount))),
        _ => Err(format!("`{text}` is no amount\nhint: write 12.50 or unknown; `adjust` takes credits")),
    }
}

fn parse_signed(text: &str) -> Result<Usd, String> {
    text.parse().map_err(|error: shoestring_planner::units::UsdError| error.to_string())
}

fn parse_purpose(text: &str) -> Result<Purpose, String> {
    Purpose::named(text).ok_or_else(|| {
        let names: Vec<&str> = Purpose::ALL.into_iter().map(Purpose::name).collect();
        format!("`{text}` is none of {}", names.join(", "))
    })
}

fn parse_threshold(text: &str) -> Result<Threshold, String> {
    let (percent, hook) = match text.split_once('=') {
        Some((percent, hook)) => (percent, Some(hook.to_owned())),
        None => (text, None),
    };
    match percent.trim_end_matches('%').trim().parse() {
        Ok(at_percent) if (1..=100).contains(&at_percent) => Ok(Threshold { at_percent, hook }),
        _ => Err(format!("`{percent}` is not within 1 and 100")),
    }
}

fn parse_rate(text: &str) -> Result<Rate, String> {
    let parts = || {
        let (currency, rest) = text.split_once('=')?;
        let (usd, rest) = rest.split_once('@')?;
        let (as_of, source) = rest.split_once('=')?;
        Some((currency.trim().to_uppercase(), usd.trim().parse::<f64>().ok()?, as_of, source))
    };
    match parts() {
        Some((currency, usd, as_of, source)) if currency.len() == 3 && usd.is_finite() && usd > 0.0 => {
            Ok(Rate { currency, usd, as_of: as_of.to_owned(), source: source.to_owned() })
        }
        _ => Err(format!("`{text}` is no rate\nhint: write EUR=1.08@2026-11=contract")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_or_refused_with_advice() {
        assert_eq!(parse_offset("-08:00").map(|zone| zone.local_minus_utc()), Ok(-8 * 3600));
        assert!(parse_offset("west").is_err());
        assert_eq!(parse_known("unknown"), Ok(Known(None)));
        assert_eq!(parse_known("12.5"), Ok(Known(Some(12.5))));
        assert!(parse_known("-1").is_err() && parse_known("").is_err());
        let rate = parse_rate("eur=1.08@2026-11=contract").expect("is a rate");
        assert_eq!((rate.currency.as_str(), rate.usd, rate.source.as_str()), ("EUR", 1.08, "contract"));
        assert!(parse_rate("EUR=1.08").is_err() && parse_rate("EUR=0@2026=x").is_err());
        let threshold = parse_threshold("80=mail -s \"80 %\"").expect("is a threshold");
        assert_eq!((threshold.at_percent, threshold.hook.as_deref()), (80, Some("mail -s \"80 %\"")));
        assert!(parse_threshold("0").is_err());
    }
}
