//! One movement of money.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use shoestring_planner::units::Usd;

use crate::kind::{Kind, Purpose};

/// The newest `version` of a row that this program reads and the one it writes. Version 2 added prices with
/// their date, unknown amounts (`null`), holders and the kinds of shared budgets.
pub const LEDGER_VERSION: u32 = 2;

/// What was bought elsewhere, as its bill states it. `None` is unknown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bought {
    /// Who sold it; empty where not stated.
    #[serde(default)]
    pub provider: String,
    /// How much of it.
    pub quantity: Option<f64>,
    /// What it is counted in: `h`, `GB-month`, ...; empty where not stated.
    #[serde(default)]
    pub unit: String,
    /// Price of one unit, in `currency`.
    pub unit_price: Option<f64>,
    /// Three letters, `USD` if nothing else is stated.
    pub currency: String,
    /// The amount in `currency`.
    pub amount: Option<f64>,
    /// US dollars for one unit of `currency` at which the amount was converted.
    pub usd_per_unit: Option<f64>,
}

/// What a row says, before it has a place in a journal. `None` is unknown, never nothing.
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
    pub amount: Option<Usd>,
    /// Number of the quantum, from 1; 0 in rows that belong to none.
    pub quantum: u64,
    /// Wall-clock seconds that the amount pays for.
    pub seconds: Option<f64>,
    /// Price of everything together, per hour.
    pub usd_per_hour: Option<Usd>,
    /// Where the price is from.
    pub price_source: String,
    /// Day, month or year of the price.
    pub price_as_of: Option<String>,
    /// The process that holds the reserve, in the journal of a shared budget; empty elsewhere.
    pub holder: String,
    /// For people.
    pub note: String,
    /// `seq` of the row that an `adjust` row speaks of.
    pub of: Option<u64>,
    /// What an `import` row bought.
    pub bought: Option<Bought>,
}

impl Draft {
    /// A row that says nothing but its kind: no money, no time, no price.
    #[must_use]
    pub fn new(kind: Kind, time: DateTime<Utc>) -> Self {
        Self {
            time,
            run: String::new(),
            stage: String::new(),
            step: 0,
            kind,
            purpose: Purpose::Run,
            amount: Some(Usd::ZERO),
            quantum: 0,
            seconds: Some(0.0),
            usd_per_hour: None,
            price_source: String::new(),
            price_as_of: None,
            holder: String::new(),
            note: String::new(),
            of: None,
            bought: None,
        }
    }
}

/// One line of `ledger.jsonl`. `None` is unknown, never nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Format version, at most [`LEDGER_VERSION`].
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
    pub amount: Option<Usd>,
    /// Number of the quantum, from 1; 0 in rows that belong to none.
    pub quantum: u64,
    /// Wall-clock seconds that the amount pays for.
    pub seconds: Option<f64>,
    /// Price of everything together, per hour.
    #[serde(
        rename = "usd_per_hour_micro",
        serialize_with = "write_micros",
        deserialize_with = "read_micros"
    )]
    pub usd_per_hour: Option<Usd>,
    /// Where the price is from.
    pub price_source: String,
    /// Day, month or year of the price.
    #[serde(default)]
    pub price_as_of: Option<String>,
    /// The process that holds the reserve, in the journal of a shared budget; empty elsewhere.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub holder: String,
    /// For people.
    pub note: String,
    /// `seq` of the row that an `adjust` row speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// What an `import` row bought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bought: Option<Bought>,
    /// `hash` of the row before; empty in the first.
    pub prev: String,
    /// SHA-256, in hexadecimal, of this line without its `hash` field.
    pub hash: String,
}

fn write_time<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

// The signature is serde's.
fn write_micros<S: Serializer>(amount: &Option<Usd>, serializer: S) -> Result<S::Ok, S::Error> {
    amount.map(Usd::micros).serialize(serializer)
}

fn read_micros<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Usd>, D::Error> {
    Option::<i64>::deserialize(deserializer).map(|micros| micros.map(Usd::from_micros))
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
            seconds: draft.seconds.map(|seconds| (seconds * 1e3).round() / 1e3),
            usd_per_hour: draft.usd_per_hour,
            price_source: draft.price_source,
            price_as_of: draft.price_as_of,
            holder: draft.holder,
            note: draft.note,
            of: draft.of,
            bought: draft.bought,
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
        let row: Self = match serde_json::from_str(line) {
            Ok(row) => row,
            // A newer row may look different altogether; it is asked for its version first.
            Err(error) => {
                return Err(match serde_json::from_str::<Versioned>(line) {
                    Ok(Versioned { version }) if version > LEDGER_VERSION => ParseError::Newer(version),
                    _ => ParseError::Json(error),
                });
            }
        };
        if row.version > LEDGER_VERSION {
            return Err(ParseError::Newer(row.version));
        }
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
        let time = DateTime::from_timestamp_micros(1_767_225_600_000_999).expect("in range");
        Draft {
            run: "demo".into(),
            stage: "pretrain".into(),
            step: 40,
            purpose: Purpose::Train,
            amount: Some(Usd::from_micros(1250)),
            quantum: 1,
            seconds: Some(45.000_04),
            usd_per_hour: Some(Usd::from_micros(100_000)),
            price_source: "stated".into(),
            price_as_of: Some("2026-01".into()),
            note: "a \"quoted\",\"hash\":\"note".into(),
            ..Draft::new(Kind::Settle, time)
        }
    }

    #[test]
    fn the_text_of_a_row_is_fixed() {
        let (row, line) = Row::place(draft(), 3, "ab").expect("has a JSON form");
        assert_eq!(
            line,
            concat!(
                r#"{"version":2,"seq":3,"time":"2026-01-01T00:00:00.000Z","run":"demo","stage":"pretrain","#,
                r#""step":40,"kind":"settle","purpose":"train","amount_micro_usd":1250,"quantum":1,"#,
                r#""seconds":45.0,"usd_per_hour_micro":100000,"price_source":"stated","#,
                r#""price_as_of":"2026-01","note":"a \"quoted\",\"hash\":\"note","prev":"ab","#,
                r#""hash":"2b8a02460826d862058a8ac6288d42e042bd319db33f36cb4ff04c11194a0bcc"}"#
            )
        );
        assert_eq!(Row::parse(&line).expect("is a row"), row);
    }

    #[test]
    fn an_unknown_amount_is_written_as_null_and_read_as_unknown() {
        let bought = Bought { quantity: None, currency: "USD".into(), ..Bought::default() };
        let unknown = Draft {
            kind: Kind::Import,
            amount: None,
            seconds: None,
            usd_per_hour: None,
            bought: Some(bought),
            of: None,
            ..draft()
        };
        let (row, line) = Row::place(unknown, 3, "ab").expect("has a JSON form");
        assert!(line.contains(r#""amount_micro_usd":null"#), "{line}");
        assert!(line.contains(r#""usd_per_hour_micro":null"#), "{line}");
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
        assert!(matches!(Row::parse(r#"{"version":3,"new":[]}"#), Err(ParseError::Newer(3))));
    }
}
