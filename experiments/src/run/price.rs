//! Prices that change while a run goes on: a file that somebody else keeps.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Deserialize;
use shoestring_planner::units::Usd;

use super::course::Course;
use super::error::RunError;

/// `price.toml`: what everything together costs per hour at present.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Price {
    pub(crate) usd_per_hour: Usd,
    /// Where the price is from.
    #[serde(default)]
    pub(crate) source: Option<String>,
    /// Day, month or year of the price.
    #[serde(default)]
    pub(crate) as_of: Option<String>,
}

/// The file, and what it said last.
#[derive(Debug)]
pub(crate) struct PriceFile {
    path: PathBuf,
    seen: Option<(SystemTime, u64)>,
    complained: bool,
}

impl PriceFile {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), seen: None, complained: false }
    }

    /// What the file says if it was written since the last look; an error once for each time it is wrong. A
    /// price that cannot be read is no price: the one before stays.
    pub(crate) fn changed(&mut self) -> Option<Result<Price, String>> {
        let fail = |this: &mut Self, problem: String| {
            let said = std::mem::replace(&mut this.complained, true);
            (!said).then(|| Err(format!("{}: {problem}; the price stays as it was", this.path.display())))
        };
        let stamp = match fs::metadata(&self.path) {
            Ok(metadata) => (metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), metadata.len()),
            Err(error) => return fail(self, error.to_string()),
        };
        if self.seen == Some(stamp) {
            return None;
        }
        self.seen = Some(stamp);
        let read = fs::read_to_string(&self.path)
            .map_err(|error| error.to_string())
            .and_then(|text| toml::from_str::<Price>(&text).map_err(|error| error.message().to_owned()));
        match read {
            Ok(price) if price.usd_per_hour < Usd::ZERO => {
                fail(self, format!("usd_per_hour = {} is negative", price.usd_per_hour))
            }
            Ok(price) => {
                self.complained = false;
                Some(Ok(price))
            }
            Err(problem) => fail(self, problem),
        }
    }
}

impl Course<'_> {
    /// Takes over what the price file says. A price above the highest that the recipe reckons with stops the
    /// run until it has fallen: what was set aside would not pay for it.
    pub(super) fn follow_price(&mut self) -> Result<(), RunError> {
        let Some(changed) = self.price.as_mut().and_then(PriceFile::changed) else { return Ok(()) };
        let price = match changed {
            Ok(price) => price,
            Err(problem) => {
                self.say(&problem);
                return Ok(());
            }
        };
        let before = self.till.with(|guard| guard.usd_per_hour());
        if price.usd_per_hour == before {
            return Ok(());
        }
        let source = price.source.unwrap_or_else(|| "price file".to_owned());
        let step = self.position.step;
        self.till.with(|guard| guard.change_price(step, price.usd_per_hour, source, price.as_of))?;
        self.say(&format!("the price is {} USD per hour now, {before} before", price.usd_per_hour));
        if let Some(worst) = self.recipe.hardware.max_usd_per_hour
            && price.usd_per_hour > worst
        {
            self.say(&format!("that is more than the {worst} USD that the recipe reckons with"));
            self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_price_that_can_be_read_is_a_price() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("price.toml");
        let mut file = PriceFile::new(&path);
        assert!(matches!(file.changed(), Some(Err(problem)) if problem.contains("price.toml")));
        assert!(file.changed().is_none(), "said once");
        fs::write(&path, "usd_per_hour = 1.5\nsource = \"spot, 2026-01-01\"\n").expect("writes");
        let price = file.changed().expect("is new").expect("is a price");
        assert_eq!(
            (price.usd_per_hour.micros(), price.source.as_deref()),
            (1_500_000, Some("spot, 2026-01-01"))
        );
        assert!(file.changed().is_none());
        fs::write(&path, "usd_per_hour = -1\n").expect("writes");
        assert!(matches!(file.changed(), Some(Err(problem)) if problem.contains("negative")));
        fs::write(&path, "usd_per_h").expect("writes");
        assert!(file.changed().is_none(), "still wrong, and said");
    }
}
