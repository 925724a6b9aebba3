//! The three forms of a file of offers, each taken apart into texts with their lines.

use std::collections::BTreeMap;

use super::{Entry, ImportError, whole_file};

pub(super) fn csv_entries(text: &str) -> Result<Vec<Entry>, ImportError> {
    let broken = |error: csv::Error| {
        let line = error.position().map_or(1, |position| position.line() as usize);
        whole_file(line, error.to_string(), "one header, then as many fields in every row; quote commas")
    };
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().map_err(broken)?.clone();
    let mut entries = Vec::new();
    for record in reader.records() {
        let record = record.map_err(broken)?;
        let line = record.position().map_or(0, |position| position.line() as usize);
        let fields =
            header.iter().zip(&record).map(|(name, value)| (name.to_owned(), (value.to_owned(), line)));
        entries.push(Entry { line, fields: fields.collect() });
    }
    Ok(entries)
}

pub(super) fn json_entries(text: &str) -> Result<Vec<Entry>, ImportError> {
    use serde_json::Value;
    let value: Value = serde_json::from_str(text)
        .map_err(|error| whole_file(error.line(), error.to_string(), "the file is not JSON"))?;
    let shape = "an array of objects, or an object with such an array as `offers`";
    let offers = match &value {
        Value::Array(offers) => offers,
        Value::Object(object) => object
            .get("offers")
            .and_then(Value::as_array)
            .ok_or_else(|| whole_file(1, "there is no array `offers`", shape))?,
        _ => return Err(whole_file(1, "neither an array nor an object", shape)),
    };
    let depth = if value.is_array() { 2 } else { 3 };
    let places = object_places(text, depth);
    let mut entries = Vec::new();
    for (index, offer) in offers.iter().enumerate() {
        let (start, end) = places.get(index).copied().unwrap_or((0, text.len()));
        let line = line_at(text, start);
        let object = offer.as_object().ok_or_else(|| whole_file(line, "an offer is not an object", shape))?;
        let mut fields = BTreeMap::new();
        for (name, value) in object {
            let at = text[start..end].find(&format!("\"{name}\"")).map_or(start, |at| start + at);
            let shown = match value {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            fields.insert(name.clone(), (shown, line_at(text, at)));
        }
        entries.push(Entry { line, fields });
    }
    Ok(entries)
}

fn line_at(text: &str, offset: usize) -> usize {
    1 + text[..offset].matches('\n').count()
}

/// Start and end of each object at a depth of brackets, in a text that is JSON.
fn object_places(text: &str, depth: usize) -> Vec<(usize, usize)> {
    let (mut places, mut now, mut start) = (Vec::new(), 0, 0);
    let (mut in_string, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                now += 1;
                if now == depth && byte == b'{' {
                    start = at;
                }
            }
            b'}' | b']' => {
                if now == depth && byte == b'}' {
                    places.push((start, at + 1));
                }
                now -= 1;
            }
            _ => {}
        }
    }
    places
}

pub(super) fn toml_entries(text: &str) -> Result<Vec<Entry>, ImportError> {
    let document: toml_edit::Document<String> =
        text.to_owned().parse().map_err(|error: toml_edit::TomlError| {
            let line = error.span().map_or(1, |span| line_at(text, span.start));
            whole_file(line, error.message().to_owned(), "the file is not TOML")
        })?;
    let shape = "write each offer as a table `[[offer]]`";
    for (name, item) in document.iter() {
        let is_known =
            name == "offer" && item.is_array_of_tables() || name == "version" && item.as_integer() == Some(1);
        if !is_known {
            let line =
                document.key(name).and_then(|key| key.span()).map_or(1, |span| line_at(text, span.start));
            return Err(whole_file(line, format!("`{name}` is not understood"), shape));
        }
    }
    let mut entries = Vec::new();
    for table in document.get("offer").and_then(|item| item.as_array_of_tables()).into_iter().flatten() {
        let line = table.span().map_or(1, |span| line_at(text, span.start));
        let mut fields = BTreeMap::new();
        for (name, item) in table {
            let line = item.span().map_or(line, |span| line_at(text, span.start));
            let shown = match item.as_value() {
                Some(toml_edit::Value::String(text)) => text.value().clone(),
                Some(toml_edit::Value::Integer(number)) => number.value().to_string(),
                Some(toml_edit::Value::Float(number)) => number.value().to_string(),
                Some(toml_edit::Value::Datetime(day)) => day.value().to_string(),
                _ => item.to_string().trim().to_owned(),
            };
            fields.insert(name.to_owned(), (shown, line));
        }
        entries.push(Entry { line, fields });
    }
    Ok(entries)
}
