//! Hardware at a price.

mod catalogue;
mod listing;
mod merge;
mod usual;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::catalogue::{
    PriceTable, Rejected, RejectedOffer, built_in, find, find_among, find_named, references, rejected,
};
pub use self::listing::{Filter, ListError, Listed, Removed, SortBy, age_days, list, speed_assumption};
pub use self::usual::{Unbelievable, UsualPrice, believable, usual_price};
use crate::accelerator::Accelerator;
use crate::names::UnknownName;
use crate::source::Source;
use crate::units::Usd;

/// Name of the offer that is the computer the program runs on.
pub const THIS_MACHINE: &str = "this-machine";
/// Price of [`THIS_MACHINE`] where the user states none, per hour: about what two cloud cores cost on demand.
pub const ASSUMED_THIS_MACHINE_PRICE: Usd = Usd::from_micros(100_000);

/// What kind of price it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PriceBasis {
    /// The provider's list.
    List,
    /// A market place's typical ask.
    Market,
    /// A reseller's listing.
    Aggregator,
    /// What a publication reckoned with: found by name, never chosen among today's offers.
    Reference,
    /// The user said so.
    Stated,
    /// Nobody said so.
    Assumed,
}

impl PriceBasis {
    /// The word that a price table has for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Market => "market",
            Self::Aggregator => "aggregator",
            Self::Reference => "reference",
            Self::Stated => "stated",
            Self::Assumed => "assumed",
        }
    }
}

/// Hardware at a price. Prices are for the whole machine, all its accelerators, per wall-clock hour.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Offer {
    /// Who rents it out.
    pub provider: String,
    /// Where; `-` when it does not matter.
    pub region: String,
    /// The provider's name of the machine.
    pub instance_type: String,
    /// The accelerator.
    pub accelerator: &'static Accelerator,
    /// Accelerators in the machine.
    pub count: u32,
    /// Virtual CPUs of the machine, where known.
    pub vcpus: Option<u32>,
    /// On demand.
    pub on_demand_usd_per_hour: Option<Usd>,
    /// Interruptible.
    pub spot_usd_per_hour: Option<Usd>,
    /// What kind of price.
    pub basis: PriceBasis,
    /// Day, month or year of the price.
    pub as_of: String,
    /// Where the price was read.
    pub citation: String,
    /// What else to know.
    pub note: String,
    /// What the row came by: `skypilot/aws`, `import`; empty in the built-in catalogue.
    pub feed: String,
    /// At most this share of interruptible machines is interrupted in a month, where the provider says so.
    pub interrupted_percent_per_month: Option<u32>,
}

impl Offer {
    /// `provider/instance_type`, and the region where there is one: what [`find`] takes, and what a recipe
    /// names.
    #[must_use]
    pub fn name(&self) -> String {
        if self.provider == THIS_MACHINE {
            THIS_MACHINE.to_owned()
        } else if self.region == "-" {
            format!("{}/{}", self.provider, self.instance_type)
        } else {
            format!("{}/{}/{}", self.provider, self.instance_type, self.region)
        }
    }

    /// The price per hour, on demand or spot, if it is sold that way.
    #[must_use]
    pub fn price(&self, spot: bool) -> Option<Usd> {
        if spot { self.spot_usd_per_hour } else { self.on_demand_usd_per_hour }
    }

    /// Where the price is from.
    #[must_use]
    pub fn price_source(&self) -> Source {
        match self.basis {
            PriceBasis::List | PriceBasis::Market | PriceBasis::Aggregator => {
                Source::Catalogue { as_of: self.as_of.clone() }
            }
            PriceBasis::Reference => Source::published(self.citation.clone()),
            PriceBasis::Stated => Source::Stated,
            PriceBasis::Assumed => Source::assumed(self.note.clone()),
        }
    }

    /// Whether it is the computer that the program runs on.
    #[must_use]
    pub fn is_this_machine(&self) -> bool {
        self.provider == THIS_MACHINE
    }

    /// Hardware that the user describes, at the user's price for the whole machine per hour.
    #[must_use]
    pub fn stated(accelerator: &'static Accelerator, count: u32, usd_per_hour: Usd) -> Self {
        Self {
            provider: "stated".to_owned(),
            region: "-".to_owned(),
            instance_type: format!("{count}x{}", accelerator.name),
            accelerator,
            count,
            vcpus: None,
            on_demand_usd_per_hour: Some(usd_per_hour),
            spot_usd_per_hour: None,
            basis: PriceBasis::Stated,
            as_of: String::new(),
            citation: String::new(),
            note: String::new(),
            feed: String::new(),
            interrupted_percent_per_month: None,
        }
    }

    /// This machine's CPU at the user's price per hour, or at [`ASSUMED_THIS_MACHINE_PRICE`].
    pub fn this_machine(usd_per_hour: Option<Usd>) -> Result<Self, UnknownName> {
        let cpu = crate::accelerator::find("cpu")?;
        let mut offer = Self::stated(cpu, 1, usd_per_hour.unwrap_or(ASSUMED_THIS_MACHINE_PRICE));
        THIS_MACHINE.clone_into(&mut offer.provider);
        "cpu".clone_into(&mut offer.instance_type);
        if usd_per_hour.is_none() {
            offer.basis = PriceBasis::Assumed;
            offer.note = "about what two cloud cores cost on demand; state yours".to_owned();
        }
        Ok(offer)
    }

    /// The same offer at a price that the user states for the whole machine per hour.
    #[must_use]
    pub fn at_price(&self, usd_per_hour: Usd) -> Self {
        Self {
            on_demand_usd_per_hour: Some(usd_per_hour),
            spot_usd_per_hour: None,
            basis: PriceBasis::Stated,
            ..self.clone()
        }
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} x {})", self.name(), self.count, self.accelerator.name)
    }
}
