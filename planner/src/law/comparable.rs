//! Which runs the law may be compared with, a rule that is fixed before anything is fitted.
//!
//! A run is comparable when it is a plain contrastive pair of transformer towers, trained from scratch, reported
//! under one name only, with sizes, lengths and samples published. The rule looks at how a run was made, never at
//! how well the law predicts it. Comparable runs are fitted; those of at least [`JUDGED_SAMPLES`] samples and
//! [`JUDGED_ACCURACY`] percent are also what the law is judged on, since nobody plans the others.

use super::case::Family;
use super::fit::subject_of;
use crate::published::PublishedRun;

/// Accuracy in percent from which on the law is judged.
pub const JUDGED_ACCURACY: f64 = 40.0;
/// Samples seen from which on the law is judged.
pub const JUDGED_SAMPLES: f64 = 250e6;
/// Shorter runs are within noise of guessing: samples seen.
pub const LEAST_SAMPLES: f64 = 2.5e6;

macro_rules! exclusions {
    ($($variant:ident $name:literal $why:literal;)*) => {
        /// Why a run is not comparable. The first reason that applies counts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Exclusion {
            $(#[doc = $why] $variant,)*
        }

        impl Exclusion {
            /// Every reason, in the order in which they are asked.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Name in JSON and CSV.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The reason as a phrase.
            #[must_use]
            pub const fn why(self) -> &'static str {
                match self { $(Self::$variant => $why,)* }
            }
        }
    };
}

exclusions! {
    ReportedTwice "reported_twice" "the same training is in the table under another name";
    OtherTower "other_tower" "the image tower is no plain ViT (ConvNeXt)";
    OtherLoss "other_loss" "trained with a captioning loss as well (MaMMUT, CoCa)";
    Initialised "initialised" "starts from weights trained otherwise (EVA's masked image modelling)";
    Incomplete "incomplete" "a size, a length or the number of samples is not published";
    TooShort "too_short" "fewer than 2.5 M samples, which is within noise of guessing";
}

/// Why `run` is not comparable; `None`: it is.
#[must_use]
pub fn exclusion(run: &PublishedRun) -> Option<Exclusion> {
    if run.same_as.is_some() {
        return Some(Exclusion::ReportedTwice);
    }
    match run.family {
        Family::ClipaConvNext => return Some(Exclusion::OtherTower),
        Family::LaionMammut | Family::LaionCoca => return Some(Exclusion::OtherLoss),
        Family::Eva => return Some(Exclusion::Initialised),
        _ if run.initialised_from.is_some() => return Some(Exclusion::Initialised),
        _ => {}
    }
    if subject_of(run).is_none() {
        return Some(Exclusion::Incomplete);
    }
    ((run.samples_seen().0 as f64) < LEAST_SAMPLES).then_some(Exclusion::TooShort)
}

/// Whether the law is judged on a comparable run.
#[must_use]
pub fn judged(run: &PublishedRun) -> bool {
    run.accuracy_percent >= JUDGED_ACCURACY && run.samples_seen().0 as f64 >= JUDGED_SAMPLES
}
