//! Quantities with their unit in the type. Money is an integer number of micro-dollars, never a float.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount of US dollars, held as a whole number of micro-dollars (1 USD = 1,000,000 micro-dollars).
///
/// Serialises as a decimal number of dollars (`cap_usd = 0.05`), exact for amounts below 9 billion USD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(i64);

/// Why a text is not an amount of dollars.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsdError {
    /// The text is not a number at all.
    #[error("`{0}` is not an amount of dollars")]
    NotANumber(String),
    /// NaN or infinite.
    #[error("`{0}` is not a finite amount of dollars")]
    NotFinite(String),
    /// Does not fit in 64-bit micro-dollars.
    #[error("`{0}` is more than this program can count (9.2e12 USD)")]
    TooLarge(String),
}

impl Usd {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount that can be held.
    pub const MAX: Self = Self(i64::MAX);

    /// From micro-dollars.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// As micro-dollars.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// From dollars, rounded to the nearest micro-dollar; for estimates and parsing, not for charging.
    /// NaN becomes zero, values out of range saturate.
    #[must_use]
    pub fn from_dollars(dollars: f64) -> Self {
        // `as` saturates and maps NaN to zero.
        Self((dollars * 1e6).round() as i64)
    }

    /// As dollars.
    #[must_use]
    pub fn dollars(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// The charge for `hours` at `self` per hour, rounded up to the next micro-dollar so that rounding
    /// never under-charges.
    #[must_use]
    pub fn per_hour_for(self, hours: Hours) -> Self {
        Self((self.0 as f64 * hours.0).ceil() as i64)
    }

    /// Sum that saturates instead of overflowing.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Difference that stops at zero.
    #[must_use]
    pub fn minus_or_zero(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0).max(0))
    }
}

impl Add for Usd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        self.saturating_add(other)
    }
}

impl AddAssign for Usd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Usd {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl SubAssign for Usd {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Usd {
    /// Whole cents from one dollar up (`1,234.56`), micro-dollars with trailing zeros cut below (`0.0123`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let magnitude = self.0.unsigned_abs();
        if magnitude < 1_000_000 {
            let digits = format!("{magnitude:06}");
            let cut = digits.trim_end_matches('0');
            let shown = if cut.len() < 2 { &digits[..2] } else { cut };
            return f.pad(&format!("{sign}0.{shown}"));
        }
        let cents = (magnitude + 5_000) / 10_000;
        f.pad(&format!("{sign}{}.{:02}", grouped(cents / 100), cents % 100))
    }
}

impl FromStr for Usd {
    type Err = UsdError;

    /// Accepts `10000`, `10,000`, `$10000`, `10000usd`, `10k`, `1.5M`, `0.05`; signs are kept, so that the
    /// caller can say what is wrong with a negative amount.
    fn from_str(text: &str) -> Result<Self, UsdError> {
        let lower = text.trim().to_lowercase();
        let bare = lower.trim_start_matches('$').trim_end_matches("usd").trim().replace([',', '_'], "");
        let (number, factor) = match bare.strip_suffix('k') {
            Some(rest) => (rest, 1e3),
            None => match bare.strip_suffix('m') {
                Some(rest) => (rest, 1e6),
                None => (bare.as_str(), 1.0),
            },
        };
        let value: f64 = number.parse().map_err(|_| UsdError::NotANumber(text.to_owned()))?;
        if !value.is_finite() {
            return Err(UsdError::NotFinite(text.to_owned()));
        }
        let micros = value * factor * 1e6;
        if micros.abs() > 9.2e18 {
            return Err(UsdError::TooLarge(text.to_owned()));
        }
        Ok(Self(micros.round() as i64))
    }
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.dollars())
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let dollars = f64::deserialize(deserializer)?;
        if !dollars.is_finite() {
            return Err(serde::de::Error::custom("an amount of dollars must be finite"));
        }
        Ok(Self::from_dollars(dollars))
    }
}

/// A whole number with thousands separators: `12800000` -> `12,800,000`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0 + other.0)
            }
        }

        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                self.0 += other.0;
            }
        }

        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
                iter.fold(Self::default(), Add::add)
            }
        }
    };
}

quantity!(
    /// A duration in hours: wall-clock hours unless a name says device hours.
    Hours(f64)
);
quantity!(
    /// Floating-point operations; one multiply-accumulate counts as two.
    Flops(f64)
);
quantity!(
    /// Image-caption pairs, with repetition when they are samples *seen*.
    #[derive(Eq, Ord, Hash)]
    Samples(u64)
);
quantity!(
    /// Sequence length of one tower for one sample. Image tokens count patches, not the class token.
    #[derive(Eq, Ord, Hash)]
    Tokens(u32)
);

impl Hours {
    /// From seconds.
    #[must_use]
    pub fn from_seconds(seconds: f64) -> Self {
        Self(seconds / 3600.0)
    }

    /// As seconds.
    #[must_use]
    pub fn seconds(self) -> f64 {
        self.0 * 3600.0
    }
}

impl fmt::Display for Hours {
    /// Picks the unit a person would: `5,920 h`, `3.4 h`, `12.3 min`, `41.0 s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0.abs() {
            hours if hours >= 100.0 => format!("{} h", grouped(self.0.round() as u64)),
            hours if hours >= 1.0 => format!("{:.1} h", self.0),
            hours if hours >= 1.0 / 60.0 => format!("{:.1} min", self.0 * 60.0),
            _ => format!("{:.1} s", self.0 * 3600.0),
        };
        f.pad(&text)
    }
}

impl fmt::Display for Samples {
    /// `12.8 B`, `512 M`, `64 k`, `980`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scaled = |unit: f64, name: &str| {
            let digits = format!("{:.2}", self.0 as f64 / unit);
            format!("{} {name}", digits.trim_end_matches('0').trim_end_matches('.'))
        };
        let text = match self.0 {
            1_000_000_000.. => scaled(1e9, "B"),
            1_000_000.. => scaled(1e6, "M"),
            10_000.. => scaled(1e3, "k"),
            _ => grouped(self.0),
        };
        f.pad(&text)
    }
}

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

impl FromStr for Samples {
    type Err = String;

    /// Accepts `12800000000`, `12.8B`, `512M`, `64k`.
    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.trim().replace([',', '_', ' '], "");
        let (number, factor) = match bare.chars().last() {
            Some('k' | 'K') => (&bare[..bare.len() - 1], 1e3),
            Some('m' | 'M') => (&bare[..bare.len() - 1], 1e6),
            Some('b' | 'B' | 'g' | 'G') => (&bare[..bare.len() - 1], 1e9),
            _ => (bare.as_str(), 1.0),
        };
        match number.parse::<f64>() {
            Ok(value) if value.is_finite() && value > 0.0 && value * factor < 1e18 => {
                Ok(Self((value * factor).round() as u64))
            }
            _ => Err(format!("`{text}` is not a number of samples (examples: 12.8B, 512M, 64k)")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_people_write_them() {
        for (text, micros) in [
            ("10000", 10_000_000_000),
            ("10k", 10_000_000_000),
            ("$10,000", 10_000_000_000),
            ("1.5M", 1_500_000_000_000),
            ("0.000001usd", 1),
            ("-3", -3_000_000),
        ] {
            assert_eq!(text.parse::<Usd>().map(Usd::micros), Ok(micros), "{text}");
        }
        assert!(matches!("NaN".parse::<Usd>(), Err(UsdError::NotFinite(_))));
        assert!(matches!("ten".parse::<Usd>(), Err(UsdError::NotANumber(_))));
        assert!(matches!("1e300".parse::<Usd>(), Err(UsdError::TooLarge(_))));
    }

    #[test]
    fn amounts_are_shown_with_the_digits_that_matter() {
        assert_eq!(Usd::from_micros(9_324_000_000).to_string(), "9,324.00");
        assert_eq!(Usd::from_micros(12_300).to_string(), "0.0123");
        assert_eq!(Usd::from_micros(500_000).to_string(), "0.50");
        assert_eq!(Usd::ZERO.to_string(), "0.00");
        assert_eq!(Usd::from_micros(-1_500_000).to_string(), "-1.50");
    }

    #[test]
    fn charging_rounds_up() {
        assert_eq!(Usd::from_micros(3600).per_hour_for(Hours::from_seconds(0.5)).micros(), 1);
    }

    #[test]
    fn samples_are_read_and_shown_with_units() {
        assert_eq!("12.8B".parse::<Samples>(), Ok(Samples(12_800_000_000)));
        assert_eq!(Samples(12_800_000_000).to_string(), "12.8 B");
        assert_eq!(Samples(512_000_000).to_string(), "512 M");
        assert!("-1".parse::<Samples>().is_err());
    }
}
