//! The file of a budget: what a person writes, in TOML.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use shoestring_planner::units::Usd;

use crate::disk::{Disk, LocalDisk};
use crate::error::LedgerError;

/// The newest `version` of a budget file that this program reads and the one it writes.
pub const BUDGET_VERSION: u32 = 1;

/// One cap over many runs, stages and machines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetTerms {
    /// Format version, at most [`BUDGET_VERSION`].
    pub version: u32,
    /// What refusals and tables call it.
    pub name: String,
    /// The number that is never exceeded.
    pub cap_usd: Usd,
    /// The budget file that this one is a part of; relative to this file's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<PathBuf>,
    /// The user vouches for the locks of the network file system that it lies on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trust_network_locks: bool,
    /// Soft thresholds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warn: Vec<Threshold>,
    /// Fixed rates of currencies other than the dollar.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rates: Vec<Rate>,
}

/// A soft threshold: told once, when what is spent first reaches it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// Share of the cap, in whole percent from 1 to 100.
    pub at_percent: u32,
    /// A command for the shell, run once when the threshold is crossed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<String>,
}

/// A stated, fixed rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Three letters.
    pub currency: String,
    /// US dollars for one unit of it.
    pub usd: f64,
    /// Day, month or year of the rate.
    pub as_of: String,
    /// Where it is from.
    pub source: String,
}

impl BudgetTerms {
    /// A budget of that name and cap, with nothing else stated.
    #[must_use]
    pub fn new(name: impl Into<String>, cap: Usd) -> Self {
        Self {
            version: BUDGET_VERSION,
            name: name.into(),
            cap_usd: cap,
            parent: None,
            trust_network_locks: false,
            warn: Vec::new(),
            rates: Vec::new(),
        }
    }

    /// Reads and checks a budget file.
    pub fn read(path: &Path) -> Result<Self, LedgerError> {
        Self::read_on(&LocalDisk, path)
    }

    /// The same on another disk.
    pub(crate) fn read_on(disk: &dyn Disk, path: &Path) -> Result<Self, LedgerError> {
        Self::parse(path, &text_of(disk, path)?)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, LedgerError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let versioned: Versioned = toml_edit::de::from_str(text)
            .map_err(|error| LedgerError::budget(path, "version", error.message()))?;
        if versioned.version > BUDGET_VERSION {
            let problem = format!(
                "{} is newer than {BUDGET_VERSION}, the newest that this program reads",
                versioned.version
            );
            return Err(LedgerError::budget(path, "version", problem));
        }
        let terms: Self = toml_edit::de::from_str(text)
            .map_err(|error| LedgerError::budget(path, "", error.to_string().trim()))?;
        terms.check(path)?;
        Ok(terms)
    }

    pub(super) fn check(&self, path: &Path) -> Result<(), LedgerError> {
        let wrong = |field: &str, problem: String| Err(LedgerError::budget(path, field, problem));
        if self.name.trim().is_empty() {
            return wrong("name", "a budget needs a name".to_owned());
        }
        if self.cap_usd < Usd::ZERO {
            return wrong("cap_usd", format!("{} is negative", self.cap_usd));
        }
        for (index, one) in self.warn.iter().enumerate() {
            if !(1..=100).contains(&one.at_percent) {
                let problem = format!("{} is not within 1 and 100", one.at_percent);
                return wrong(&format!("warn[{index}].at_percent"), problem);
            }
        }
        for (index, rate) in self.rates.iter().enumerate() {
            if !(rate.usd.is_finite() && rate.usd > 0.0) {
                return wrong(&format!("rates[{index}].usd"), format!("{} is no rate", rate.usd));
            }
            if rate.currency.len() != 3 || !rate.currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
                let problem = format!("`{}` is no currency of three capital letters", rate.currency);
                return wrong(&format!("rates[{index}].currency"), problem);
            }
        }
        Ok(())
    }

    /// The journal beside a budget file: the same name with the ending `.jsonl`.
    #[must_use]
    pub fn journal(path: &Path) -> PathBuf {
        path.with_extension("jsonl")
    }

    /// The folder with a locked file for each process that holds the budget.
    pub(super) fn holders(path: &Path) -> PathBuf {
        path.with_extension("holders")
    }

    /// The rate of a currency; dollars need none.
    #[must_use]
    pub fn usd_per_unit(&self, currency: &str) -> Option<f64> {
        if currency == "USD" {
            return Some(1.0);
        }
        self.rates.iter().find(|rate| rate.currency == currency).map(|rate| rate.usd)
    }

    /// As the text of a new file.
    pub(crate) fn text(&self, path: &Path) -> Result<String, LedgerError> {
        toml_edit::ser::to_string_pretty(self)
            .map_err(|error| LedgerError::budget(path, "", error.to_string()))
    }

    /// The text of an existing file with another cap; everything else, comments too, stays as it is.
    pub(super) fn text_with_cap(disk: &dyn Disk, path: &Path, cap: Usd) -> Result<String, LedgerError> {
        let text = text_of(disk, path)?;
        let mut document: toml_edit::DocumentMut = text
            .parse()
            .map_err(|error: toml_edit::TomlError| LedgerError::budget(path, "", error.message()))?;
        document["cap_usd"] = toml_edit::value(cap.dollars());
        Ok(document.to_string())
    }
}

fn text_of(disk: &dyn Disk, path: &Path) -> Result<String, LedgerError> {
    disk.read(path)
        .and_then(|bytes| {
            String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        })
        .map_err(|source| LedgerError::io(path, source))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const WRITTEN: &str = "version = 1\nname = \"grant\" # of 2026\ncap_usd = 500\n\n[[warn]]\nat_percent = 80\n\
                           hook = \"true\"\n\n[[rates]]\ncurrency = \"EUR\"\nusd = 1.08\nas_of = \"2026-11\"\n\
                           source = \"contract\"\n";

    fn parse(text: &str) -> Result<BudgetTerms, LedgerError> {
        BudgetTerms::parse(Path::new("grant.toml"), text)
    }

    #[test]
    fn a_file_written_by_hand_is_read_and_keeps_its_comments() {
        let terms = parse(WRITTEN).expect("is right");
        assert_eq!(terms.cap_usd, Usd::from_micros(500_000_000));
        assert_eq!((terms.usd_per_unit("EUR"), terms.usd_per_unit("CHF")), (Some(1.08), None));
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("grant.toml");
        fs::write(&path, WRITTEN).expect("writes");
        let text =
            BudgetTerms::text_with_cap(&LocalDisk, &path, Usd::from_micros(600_500_000)).expect("is TOML");
        assert_eq!(text, WRITTEN.replace("cap_usd = 500", "cap_usd = 600.5"));
        let own = terms.text(&path).expect("has a TOML form");
        assert_eq!(parse(&own).expect("is right"), terms);
    }

    #[test]
    fn what_cannot_be_is_refused_with_field_and_value() {
        for (from, to, named) in [
            ("cap_usd = 500", "cap_usd = -1", "cap_usd"),
            ("version = 1", "version = 2", "version"),
            ("at_percent = 80", "at_percent = 0", "warn[0].at_percent"),
            ("usd = 1.08", "usd = 0.0", "rates[0].usd"),
            ("\"EUR\"", "\"euro\"", "rates[0].currency"),
            ("name = \"grant\"", "name = \" \"", "name"),
            ("cap_usd", "cap_eur", "cap_eur"),
        ] {
            let error = parse(&WRITTEN.replace(from, to)).expect_err("is wrong").to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
