//! How time is billed: by what is begun, and at least so much.

use serde::{Deserialize, Serialize};

/// The billing periods of a rented machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Billing {
    /// A period that is begun is paid whole, in seconds (3600: by the hour); 0: to the instant.
    pub increment_seconds: f64,
    /// At least so many seconds are paid.
    pub minimum_seconds: f64,
}

impl Billing {
    /// To the instant.
    pub const EXACT: Self = Self { increment_seconds: 0.0, minimum_seconds: 0.0 };

    /// What the provider of an offer (`provider/instance_type/region`) bills by; to the instant where nothing
    /// is known.
    ///
    /// aws and gcp: whole seconds, the first minute in full (their announcements of October 2017, still in
    /// force); lambda and scaleway's accelerators: whole minutes; runpod and vast: whole seconds (their price
    /// pages in 2026).
    #[must_use]
    pub fn usual(offer: &str) -> Self {
        let provider = offer.split('/').next().unwrap_or_default();
        let (increment_seconds, minimum_seconds) = match provider {
            "aws" | "gcp" => (1.0, 60.0),
            "lambda" | "scaleway" => (60.0, 0.0),
            "runpod" | "vast" => (1.0, 0.0),
            _ => return Self::EXACT,
        };
        Self { increment_seconds, minimum_seconds }
    }

    /// Seconds that are billed when a machine was held for `held` seconds.
    #[must_use]
    pub fn billed(&self, held: f64) -> f64 {
        let held = held.max(0.0);
        let whole = if self.increment_seconds > 0.0 {
            // A hair beyond a period is the clock's rounding, not another period.
            (held / self.increment_seconds - 1e-9).ceil().max(0.0) * self.increment_seconds
        } else {
            held
        };
        whole.max(if held > 0.0 { self.minimum_seconds } else { 0.0 })
    }

    /// The longest time that can be held when `paid` seconds are billed at most.
    #[must_use]
    pub fn whole_periods(&self, paid: f64) -> f64 {
        if paid.is_infinite() {
            return paid;
        }
        if paid < self.minimum_seconds {
            return 0.0;
        }
        if self.increment_seconds <= 0.0 {
            return paid;
        }
        (paid / self.increment_seconds + 1e-9).floor() * self.increment_seconds
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_catalogue_s_providers() {
        assert_eq!(Billing::usual("aws/p4d.24xlarge/us-east-1").minimum_seconds, 60.0);
        assert_eq!(Billing::usual("lambda/gpu_8x_a100").increment_seconds, 60.0);
        assert_eq!(Billing::usual("this-machine"), Billing::EXACT);
    }

    #[test]
    fn landmarks() {
        let hourly = Billing { increment_seconds: 3600.0, minimum_seconds: 0.0 };
        assert_eq!([0.0, 1.0, 3600.0, 3601.0].map(|held| hourly.billed(held)), [0.0, 3600.0, 3600.0, 7200.0]);
        let cloud = Billing { increment_seconds: 1.0, minimum_seconds: 60.0 };
        assert_eq!([0.0, 0.5, 59.5, 60.2].map(|held| cloud.billed(held)), [0.0, 60.0, 60.0, 61.0]);
        assert_eq!([59.0, 60.0, 60.5, 61.0].map(|paid| cloud.whole_periods(paid)), [0.0, 60.0, 60.0, 61.0]);
        assert!((Billing::EXACT.billed(1.25) - 1.25).abs() < f64::EPSILON);
    }

    proptest! {
        #[test]
        fn what_is_affordable_is_billed_within_what_was_paid(
            paid in 0.0..1e6f64, increment in prop::sample::select(vec![0.0, 1.0, 60.0, 3600.0]),
            minimum in prop::sample::select(vec![0.0, 60.0, 600.0]), held in 0.0..1e6f64,
        ) {
            let billing = Billing { increment_seconds: increment, minimum_seconds: minimum };
            prop_assert!(billing.billed(billing.whole_periods(paid)) <= paid + 1e-6);
            prop_assert!(billing.billed(held) >= held - 1e-5);
            prop_assert!(billing.whole_periods(billing.billed(held)) >= held - 1e-5);
        }
    }
}
