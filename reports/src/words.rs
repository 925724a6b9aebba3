//! Numbers and names as people read them, the same on the page and in the charts.

use shoestring_planner::units::{Usd, grouped};

/// `12,345.68` with `decimals` digits after the point.
pub(crate) fn decimal(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let fixed = format!("{:.decimals$}", value.abs());
    let (whole, rest) = fixed.split_at(fixed.find('.').unwrap_or(fixed.len()));
    let whole = whole.parse::<u64>().map_or_else(|_| whole.to_owned(), grouped);
    let negative = value < 0.0 && fixed.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
    format!("{}{whole}{rest}", if negative { "−" } else { "" })
}

/// At most three significant digits below a thousand, none after the point above.
pub(crate) fn significant(value: f64) -> String {
    let magnitude = value.abs();
    if value == 0.0 || magnitude >= 100.0 {
        return decimal(value, 0);
    }
    let decimals = (2 - magnitude.log10().floor() as i32).clamp(0, 12) as usize;
    let text = decimal(value, decimals);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Dollars to the precision that a person wants: whole ones from a thousand up, cents from one up, three digits
/// below.
pub(crate) fn dollars(amount: Usd) -> String {
    let decimals = match amount.micros().unsigned_abs() {
        1_000_000_000.. => 0,
        1_000_000.. => 2,
        _ => return format!("{}\u{a0}USD", significant(amount.dollars())),
    };
    format!("{}\u{a0}USD", decimal(amount.dollars(), decimals))
}

/// A percentage with one digit after the point, `81.1 %`, its sign on the same line.
pub(crate) fn percent(value: f64) -> String {
    format!("{}\u{a0}%", decimal(value, 1))
}

/// `one run`, `3 runs`.
pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{} {many}", grouped(count as u64)) }
}

/// The text without control characters, which neither XML nor a font knows.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') { ' ' } else { c })
        .collect()
}

/// A name as part of a file name: lower-case letters, digits and hyphens, never empty.
pub(crate) fn slug(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            out.push(c.to_ascii_lowercase());
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    let cut: String = out.chars().take(60).collect();
    let cut = cut.trim_end_matches('-');
    if cut.is_empty() { "unnamed".to_owned() } else { cut.to_owned() }
}

/// The first of `name`, `name-2`, `name-3`, … that `taken` does not hold yet.
pub(crate) fn unique(name: String, taken: &mut std::collections::HashSet<String>) -> String {
    let mut candidate = name.clone();
    let mut count = 2;
    while !taken.insert(candidate.clone()) {
        candidate = format!("{name}-{count}");
        count += 1;
    }
    candidate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_rounded() {
        assert_eq!(decimal(1_234_567.891, 2), "1,234,567.89");
        assert_eq!(decimal(-0.04, 1), "0.0");
        assert_eq!(decimal(-12.0, 0), "−12");
        assert_eq!(decimal(f64::NAN, 1), "–");
        assert_eq!(significant(0.000_123_4), "0.000123");
        assert_eq!(significant(12.30), "12.3");
        assert_eq!(significant(9_324.4), "9,324");
        assert_eq!(dollars(Usd::from_micros(9_324_400_000)), "9,324\u{a0}USD");
        assert_eq!(dollars(Usd::from_micros(12_345)), "0.0123\u{a0}USD");
        assert_eq!(dollars(Usd::from_micros(1_234_567)), "1.23\u{a0}USD");
        assert_eq!(dollars(Usd::ZERO), "0\u{a0}USD");
    }

    #[test]
    fn names_become_safe_file_names() {
        assert_eq!(slug("../../etc/Passwd <b>"), "etc-passwd-b");
        assert_eq!(slug("日本"), "unnamed");
        assert_eq!(slug(&format!("{} b", "a".repeat(59))), "a".repeat(59));
        let mut taken = std::collections::HashSet::new();
        assert_eq!(unique("a".to_owned(), &mut taken), "a");
        assert_eq!(unique("a".to_owned(), &mut taken), "a-2");
        assert_eq!(unique("a".to_owned(), &mut taken), "a-3");
    }
}
