//! One movement of money.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use shoestring_planner::units::Usd;

/// The newest `version` of a row that this program reads and the one it writes.
pub const LEDGER_VERSION: u32 = 1;

/// What a row does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The first row: the amount is the cap.
    Open,
    /// The amount is set aside for a quantum before it starts; counts as spent until settled.
    Reserve,
    /// What the quantum of the same number cost; replaces its reserve.
    Settle,
    /// A reserve given back unspent; the amount is 0.
    Release,
    /// Something worth remembering; the amount is 0.
    Note,
    /// A process let go of the run; the amount is 0, the note says why (`finished`, `cap_reached`,
    /// `interrupted`).
    End,
}

/// What the money is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// About the run as a whole (`open`, `note` and `end` rows).
    Run,
    /// Opening the data, building the model, loading a checkpoint.
    SetUp,
    /// Training steps.
    Train,
    /// Evaluation.
    Evaluate,
    /// Writing a checkpoint.
    Checkpoint,
}

impl Purpose {
    /// As it stands in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::SetUp => "set_up",
            Self::Train => "train",
            Self::Evaluate => "evaluate",
            Self::Checkpoint => "checkpoint",
        }
    }
}

/// What a row says, before it has a place in a journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// When, UTC.
    pub time: DateTime<Utc>,
    /// Name of the run.
    pub run: String,
    /// Name of the stage; empty outside stages.
    pub stage: String,
    /// Global step at the time.
    pub step: u64,
    /// What the row does.
    pub kind: Kind,
    /// What the money is for.
    pub purpose: Purpose,
    /// The money.
    pub amount: Usd,
    /// Number of the quantum, from 1; 0 in rows that belong to none.
    pub quantum: u64,
    /// Wall-clock seconds that the amount pays for.
    pub seconds: f64,
    /// Price of everything together, per hour.
    pub usd_per_hour: Usd,
    /// Where the price is from.
    pub price_source: String,
    /// For people.
    pub note: String,
}

/// One line of `ledger.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Format version, [`LEDGER_VERSION`].
    pub version: u32,
    /// Place in the journal, from 0.
    pub seq: u64,
    /// When, UTC, to the millisecond.
    #[serde(serialize_with = "write_time")]
    pub time: DateTime<Utc>,
    /// Name of the run.
    pub run: String,
    /// Name of the stage; empty outside stages.
    pub stage: String,
    /// Global step at the time.
    pub step: u64,
    /// What the row does.
    pub kind: Kind,
    /// What the money is for.
    pub purpose: Purpose,
    /// The money.
    #[serde(rename = "amount_micro_usd", serialize_with = "write_micros", deserialize_with = "read_micros")]
    pub amount: Usd,
    /// Number of the quantum, from 1; 0 in rows that belong to none.
    pub quantum: u64,
    /// Wall-clock seconds that the amount pays for.
    pub seconds: f64,
    /// Price of everything together, per hour.
    #[serde(
        rename = "usd_per_hour_micro",
        serialize_with = "write_micros",
        deserialize_with = "read_micros"
    )]
    pub usd_per_hour: Usd,
    /// Where the price is from.
    pub price_source: String,
    /// For people.
    pub note: String,
    /// `hash` of the row before; empty in the first.
    pub prev: String,
    /// SHA-256, in hexadecimal, of this line without its `hash` field.
    pub hash: String,
}

fn write_time<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

// The signature is serde's.
fn write_micros<S: Serializer>(amount: &Usd, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(amount.micros())
}

fn read_micros<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Usd, D::Error> {
    i64::deserialize(deserializer).map(Usd::from_micros)
}

/// What precedes the hash at the end of a line.
const HASH_FIELD: &str = ",\"hash\":\"";

impl Row {
    /// Gives a draft its place; computes the hash. Times are cut to milliseconds and seconds are rounded to
    /// them, so that a row in memory equals the row on disk.
    pub(crate) fn place(draft: Draft, seq: u64, prev: &str) -> Result<(Self, String), serde_json::Error> {
        let mut row = Self {
            version: LEDGER_VERSION,
            seq,
            time: DateTime::from_timestamp_millis(draft.time.timestamp_millis()).unwrap_or(draft.time),
            run: draft.run,
            stage: draft.stage,
            step: draft.step,
            kind: draft.kind,
            purpose: draft.purpose,
            amount: draft.amount,
            quantum: draft.quantum,
            seconds: (draft.seconds * 1e3).round() / 1e3,
            usd_per_hour: draft.usd_per_hour,
            price_source: draft.price_source,
            note: draft.note,
            prev: prev.to_owned(),
            hash: String::new(),
        };
        let unhashed = without_hash(&serde_json::to_string(&row)?).unwrap_or_default();
        row.hash = digest(&unhashed);
        let line = serde_json::to_string(&row)?;
        Ok((row, line))
    }

    /// Reads one line and checks that its hash is the hash of its text.
    pub(crate) fn parse(line: &str) -> Result<Self, ParseError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let versioned: Versioned = serde_json::from_str(line).map_err(ParseError::Json)?;
        if versioned.version > LEDGER_VERSION {
            return Err(ParseError::Newer(versioned.version));
        }
        let row: Self = serde_json::from_str(line).map_err(ParseError::Json)?;
        let unhashed = without_hash(line).ok_or(ParseError::HashNotLast)?;
        let computed = digest(&unhashed);
        if computed != row.hash {
            return Err(ParseError::Hash { computed, found: row.hash });
        }
        Ok(row)
    }
}

/// Why a line is no row.
#[derive(Debug)]
pub(crate) enum ParseError {
    Json(serde_json::Error),
    Newer(u32),
    HashNotLast,
    Hash { computed: String, found: String },
}

/// The text that is hashed: the line as written, without its last field. Hashing the text and not the values
/// lets any program check it without printing numbers as this one does.
fn without_hash(line: &str) -> Option<String> {
    let at = line.rfind(HASH_FIELD)?;
    Some(format!("{}}}", &line[..at]))
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn draft() -> Draft {
        Draft {
            time: DateTime::from_timestamp_micros(1_767_225_600_000_999).expect("in range"),
            run: "demo".into(),
            stage: "pretrain".into(),
            step: 40,
            kind: Kind::Settle,
            purpose: Purpose::Train,
            amount: Usd::from_micros(1250),
            quantum: 1,
            seconds: 45.000_04,
            usd_per_hour: Usd::from_micros(100_000),
            price_source: "stated".into(),
            note: "a \"quoted\",\"hash\":\"note".into(),
        }
    }

    #[test]
    fn the_text_of_a_row_is_fixed() {
        let (row, line) = Row::place(draft(), 3, "ab").expect("has a JSON form");
        assert_eq!(
            line,
            concat!(
                r#"{"version":1,"seq":3,"time":"2026-01-01T00:00:00.000Z","run":"demo","stage":"pretrain","#,
                r#""step":40,"kind":"settle","purpose":"train","amount_micro_usd":1250,"quantum":1,"#,
                r#""seconds":45.0,"usd_per_hour_micro":100000,"price_source":"stated","#,
                r#""note":"a \"quoted\",\"hash\":\"note","prev":"ab","#,
                r#""hash":"73658fdc3420002ca1ac084f063e55901c5bbc542f6dd1ee4beb2d7d627be128"}"#
            )
        );
        assert_eq!(Row::parse(&line).expect("is a row"), row);
    }

    #[test]
    fn a_changed_digit_is_found() {
        let (_, line) = Row::place(draft(), 3, "ab").expect("has a JSON form");
        let changed = line.replace("1250", "1249");
        assert!(matches!(Row::parse(&changed), Err(ParseError::Hash { .. })));
    }

    #[test]
    fn a_row_of_a_newer_version_is_not_blamed_for_its_fields() {
        assert!(matches!(Row::parse(r#"{"version":2,"new":[]}"#), Err(ParseError::Newer(2))));
    }
}
