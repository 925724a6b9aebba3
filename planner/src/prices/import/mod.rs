//! Prices of one's own contract, from CSV, JSON or TOML, into a price table. Everything that is not
//! understood is refused with its line, field and value: a price in another unit would be a plan of nonsense.

mod forms;

use std::collections::BTreeMap;

use self::forms::{csv_entries, json_entries, toml_entries};
use super::row::PriceRow;
use crate::accelerator;
use crate::names::nearest;
use crate::offer::{self, Unbelievable};
use crate::units::Usd;

/// The feed of imported rows, believed before all others.
pub const IMPORT_FEED: &str = "import";

/// Columns or keys that are understood.
pub const IMPORT_COLUMNS: [&str; 13] = [
    "provider",
    "region",
    "instance_type",
    "accelerator",
    "count",
    "vcpus",
    "on_demand_usd_per_hour",
    "spot_usd_per_hour",
    "currency",
    "unit",
    "as_of",
    "source",
    "note",
];

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportForm {
    /// A header and rows.
    Csv,
    /// An array of objects, or an object with such an array as `offers`.
    Json,
    /// `[[offer]]` tables.
    Toml,
}

impl ImportForm {
    /// By the ending of a file's name.
    #[must_use]
    pub fn of(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "csv" => Some(Self::Csv),
            "json" => Some(Self::Json),
            "toml" => Some(Self::Toml),
            _ => None,
        }
    }
}

/// What cannot be imported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {}{problem}", field_and_value(.field, .value))]
pub struct ImportError {
    /// Line, counted from 1.
    pub line: usize,
    /// The field, where one is at fault.
    pub field: String,
    /// Its value.
    pub value: String,
    /// What is wrong.
    pub problem: String,
    /// Advice.
    pub hint: String,
}

fn field_and_value(field: &str, value: &str) -> String {
    if field.is_empty() { String::new() } else { format!("{field} = `{value}`: ") }
}

/// One offer as it stands in the file: texts, with the line of each.
struct Entry {
    line: usize,
    fields: BTreeMap<String, (String, usize)>,
}

/// Reads every offer of `text`, or says what is wrong with each that cannot be one. `today` (a day) dates
/// offers that do not say; `any_price` believes prices far outside what the accelerator usually costs.
pub fn import(
    text: &str,
    form: ImportForm,
    today: &str,
    any_price: bool,
) -> Result<Vec<PriceRow>, Vec<ImportError>> {
    let entries = match form {
        ImportForm::Csv => csv_entries(text),
        ImportForm::Json => json_entries(text),
        ImportForm::Toml => toml_entries(text),
    }
    .map_err(|error| vec![error])?;
    if entries.is_empty() {
        return Err(vec![whole_file(1, "no offer in it", "docs/prices.md shows each form with an example")]);
    }
    let (mut rows, mut errors) = (Vec::new(), Vec::new());
    for entry in &entries {
        match row(entry, today, any_price) {
            Ok(row) => rows.push(row),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(rows) } else { Err(errors) }
}

fn whole_file(line: usize, problem: impl Into<String>, hint: &str) -> ImportError {
    let (field, value) = (String::new(), String::new());
    ImportError { line, field, value, problem: problem.into(), hint: hint.to_owned() }
}

impl Entry {
    fn text(&self, field: &str) -> &str {
        self.fields.get(field).map_or("", |(value, _)| value.trim())
    }

    fn wrong(&self, field: &str, problem: impl Into<String>, hint: impl Into<String>) -> ImportError {
        let (value, line) = self.fields.get(field).cloned().unwrap_or((String::new(), self.line));
        ImportError { line, field: field.to_owned(), value, problem: problem.into(), hint: hint.into() }
    }

    fn needed(&self, field: &str, hint: &str) -> Result<&str, ImportError> {
        match self.text(field) {
            "" => Err(self.wrong(field, "is missing", hint)),
            text => Ok(text),
        }
    }

    fn whole_number(&self, field: &str) -> Result<Option<u32>, ImportError> {
        match self.text(field) {
            "" => Ok(None),
            text => match text.parse::<u32>() {
                Ok(number) if number > 0 => Ok(Some(number)),
                _ => Err(self.wrong(field, "is not a whole number above zero", "write it in digits")),
            },
        }
    }

    fn price(
        &self,
        field: &'static str,
        accelerator: &accelerator::Accelerator,
        count: u32,
        any_price: bool,
    ) -> Result<Option<Usd>, ImportError> {
        let text = self.text(field);
        if text.is_empty() {
            return Ok(None);
        }
        if !text.is_ascii() || text.contains(|c: char| c.is_ascii_alphabetic() || c == '$' || c == ',') {
            let hint = "a plain number of US dollars, with a decimal point and without a sign or unit";
            return Err(self.wrong(field, "is not a plain number", hint));
        }
        let usd: f64 = text
            .parse()
            .map_err(|_| self.wrong(field, "is not a number", "a plain number of US dollars, as 12.50"))?;
        match offer::believable(usd, accelerator, count) {
            Ok(usd) => Ok(Some(usd)),
            Err(Unbelievable::Unusual { .. }) if any_price => Ok(Some(Usd::from_dollars(usd))),
            Err(why @ Unbelievable::Unusual { .. }) => {
                let hint = "prices are US dollars per hour of the whole machine: a month has 730 hours; \
                     --any-price takes the price as it is";
                Err(self.wrong(field, why.to_string(), hint))
            }
            Err(why) => {
                Err(self.wrong(field, why.to_string(), "leave the field empty where it is not sold so"))
            }
        }
    }
}

fn row(entry: &Entry, today: &str, any_price: bool) -> Result<PriceRow, ImportError> {
    for name in entry.fields.keys() {
        if !IMPORT_COLUMNS.contains(&name.as_str()) {
            let near = nearest(name, IMPORT_COLUMNS);
            let hint = match near.first() {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("understood are: {}", IMPORT_COLUMNS.join(", ")),
            };
            return Err(entry.wrong(name, "is not a field of an offer", hint));
        }
    }
    let currency = entry.text("currency");
    if !currency.is_empty() && !currency.eq_ignore_ascii_case("usd") {
        let hint = "convert the prices to US dollars, and write USD or leave the field out";
        return Err(entry.wrong("currency", "is not USD", hint));
    }
    let unit = entry.text("unit");
    if !unit.is_empty() && unit != "hour" {
        let hint = match unit {
            "gpu_hour" | "gpu-hour" => "multiply by the number of accelerators, and write `hour`",
            "month" => "divide by 730, and write `hour`",
            "day" => "divide by 24, and write `hour`",
            "second" => "multiply by 3600, and write `hour`",
            _ => "prices are per hour of the whole machine: convert them, and write `hour`",
        };
        return Err(entry.wrong("unit", "is not `hour`", hint));
    }
    let provider = entry.needed("provider", "who rents the machine out")?;
    let instance_type = entry.needed("instance_type", "a name for the machine, as `8xH100`")?;
    let name = entry.needed("accelerator", "`shoestring prices list` shows names")?;
    let accelerator = accelerator::find(name).map_err(|error| {
        let hint = error.hint().unwrap_or_else(|| "`shoestring prices list` shows names".to_owned());
        entry.wrong("accelerator", "no accelerator is called so", hint)
    })?;
    let count = entry
        .whole_number("count")?
        .ok_or_else(|| entry.wrong("count", "is missing", "the number of accelerators in the machine"))?;
    let on_demand = entry.price("on_demand_usd_per_hour", accelerator, count, any_price)?;
    let spot = entry.price("spot_usd_per_hour", accelerator, count, any_price)?;
    if on_demand.is_none() && spot.is_none() {
        let hint = "US dollars per hour of the whole machine";
        return Err(entry.wrong("on_demand_usd_per_hour", "is missing, and so is spot_usd_per_hour", hint));
    }
    let or = |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
    let as_of = or(entry.text("as_of"), today);
    let today = today.parse().unwrap_or_default();
    if offer::age_days(&as_of, today).is_none() {
        return Err(entry.wrong("as_of", "is not a day", "write it as 2026-08-04, 2026-08 or 2026"));
    }
    Ok(PriceRow {
        provider: provider.to_owned(),
        region: or(entry.text("region"), "-"),
        instance_type: instance_type.to_owned(),
        accelerator: accelerator.name.clone(),
        count,
        vcpus: entry.whole_number("vcpus")?,
        on_demand_usd_per_hour: on_demand,
        spot_usd_per_hour: spot,
        basis: "stated".to_owned(),
        as_of,
        source: or(entry.text("source"), "imported"),
        note: entry.text("note").to_owned(),
        feed: IMPORT_FEED.to_owned(),
        interrupted_percent_per_month: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: &str = "provider,instance_type,accelerator,count,on_demand_usd_per_hour,currency,unit\n\
        acme,8xH100,H100,8,16.00,USD,hour\n\
        acme,4xA100,A100-80GB,4,5.2,,\n";
    const JSON: &str = r#"{"offers": [
  {"provider": "acme", "instance_type": "8xH100", "accelerator": "H100", "count": 8,
   "note": "a { in a \"text\"",
   "on_demand_usd_per_hour": 16.00},
  {"provider": "acme", "instance_type": "4xA100", "accelerator": "A100-80GB", "count": 4,
   "on_demand_usd_per_hour": 5.2, "spot_usd_per_hour": null}
]}"#;
    const TOML: &str = r#"version = 1

[[offer]]
provider = "acme"
instance_type = "8xH100"
accelerator = "H100"
count = 8
on_demand_usd_per_hour = 16.0

[[offer]]
provider = "acme"
instance_type = "4xA100"
accelerator = "A100-80GB"
count = 4
on_demand_usd_per_hour = 5.2
as_of = 2026-08-04
"#;

    fn one_error(text: &str, form: ImportForm) -> ImportError {
        let mut errors = import(text, form, "2026-08-30", false).expect_err(text);
        assert_eq!(errors.len(), 1, "{errors:?}");
        errors.remove(0)
    }

    #[test]
    fn three_forms_say_the_same() {
        for (text, form) in [(CSV, ImportForm::Csv), (JSON, ImportForm::Json), (TOML, ImportForm::Toml)] {
            let rows = import(text, form, "2026-08-30", false).unwrap_or_else(|errors| panic!("{errors:?}"));
            assert_eq!(rows.len(), 2);
            assert_eq!((rows[0].accelerator.as_str(), rows[0].count), ("H100-SXM", 8));
            assert_eq!(rows[0].on_demand_usd_per_hour, Some(Usd::from_micros(16_000_000)));
            assert_eq!((rows[0].as_of.as_str(), rows[0].basis.as_str()), ("2026-08-30", "stated"));
            assert_eq!(rows[1].on_demand_usd_per_hour, Some(Usd::from_micros(5_200_000)));
            assert_eq!(rows[1].feed, IMPORT_FEED);
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_line_field_value_and_hint() {
        for (from, to, line, said, hint) in [
            ("16.00,USD", "16.00,EUR", 2, "currency = `EUR`: is not USD", "convert"),
            ("USD,hour", "USD,gpu_hour", 2, "unit = `gpu_hour`: is not `hour`", "multiply by the number"),
            ("USD,hour", "USD,month", 2, "unit = `month`", "divide by 730"),
            ("H100,8,", "H100x,8,", 2, "accelerator = `H100x`", "H100"),
            ("H100,8,", "H100,0,", 2, "count = `0`: is not a whole number", "digits"),
            (
                "16.00",
                "11680",
                2,
                "on_demand_usd_per_hour = `11680`: 1,460.00 USD per H100-SXM",
                "--any-price",
            ),
            ("16.00", "0", 2, "on_demand_usd_per_hour = `0`: no cloud charges that", "leave the field empty"),
            ("16.00", "-3", 2, "on_demand_usd_per_hour = `-3`", "leave"),
            ("16.00", "16$", 2, "is not a plain number", "without a sign"),
            ("16.00", "NaN", 2, "is not a plain number", "without a sign"),
            ("5.2", "", 3, "on_demand_usd_per_hour = ``: is missing", "US dollars"),
            ("acme,4x", ",4x", 3, "provider = ``: is missing", "who"),
            ("count,on", "counts,on", 2, "counts = `8`: is not a field", "`count`"),
            (",,\n", "\n", 3, "CSV error", "as many fields"),
        ] {
            assert!(CSV.contains(from), "{from}");
            let text = CSV.replacen(from, to, 1);
            let errors = import(&text, ImportForm::Csv, "2026-08-30", false).expect_err(&text);
            let error = &errors[0];
            assert_eq!(error.line, line, "{error}");
            assert!(error.to_string().contains(said), "{error}");
            assert!(error.hint.contains(hint), "{}", error.hint);
        }
        assert!(one_error("provider\n", ImportForm::Csv).to_string().contains("no offer in it"));
    }

    #[test]
    fn lines_are_found_in_json_and_toml() {
        let error = one_error(&JSON.replace("5.2", "5200"), ImportForm::Json);
        assert_eq!((error.line, error.value.as_str()), (6, "5200"));
        let error = one_error(&JSON.replace("16.00", "\"16 EUR\""), ImportForm::Json);
        assert_eq!((error.line, error.value.as_str()), (4, "16 EUR"));
        assert_eq!(one_error("{\"offers\": [\n{]}", ImportForm::Json).line, 2);
        assert!(one_error("{\"rows\": []}", ImportForm::Json).to_string().contains("no array `offers`"));
        let error = one_error(&TOML.replace("count = 4", "count = \"four\""), ImportForm::Toml);
        assert_eq!((error.line, error.field.as_str(), error.value.as_str()), (14, "count", "four"));
        let error = one_error(&TOML.replace("[[offer]]\nprovider", "[[offers]]\nprovider"), ImportForm::Toml);
        assert!(error.to_string().contains("`offers` is not understood"), "{error}");
        assert_eq!(one_error(&TOML.replace("count = 8", "count = "), ImportForm::Toml).line, 7);
    }

    #[test]
    fn an_unusual_contract_is_taken_when_said_so() {
        let text = CSV.replace("16.00", "0.80");
        assert!(import(&text, ImportForm::Csv, "2026-08-30", false).is_err());
        let rows = import(&text, ImportForm::Csv, "2026-08-30", true).expect("any price");
        assert_eq!(rows[0].on_demand_usd_per_hour, Some(Usd::from_micros(800_000)));
        assert!(import(&CSV.replace("16.00", "0"), ImportForm::Csv, "2026-08-30", true).is_err());
    }
}
