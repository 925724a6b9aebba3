//! `law.toml`: the law as a file, with the SHA-256 of the runs that it was fitted on.

use sha2::{Digest, Sha256};

use super::Law;
use super::case::Family;
use super::evidence::Surroundings;
use super::fit::{self, FittedLaw};
use super::interval::Width;
use super::inverse::{DropLaw, IMAGE_REDUCTIONS, InverseLaw, TEXT_REDUCTIONS};
use super::parameters::{self, Coefficients, GLOBALS};
use super::range::Ranges;
use super::refine::PaperSpread;
use super::retrieval::{self, FEATURES, RetrievalLaw, RetrievalTarget};
use crate::dataset;
use crate::published::PublishedRun;

/// The newest `version` of `law.toml` that this program reads and the one it writes.
pub const LAW_VERSION: i64 = 1;

/// Why a stored law was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StoredLawError {
    /// Not TOML.
    #[error("the stored law is not TOML: {0}")]
    Syntax(String),
    /// Written by a newer version of the program.
    #[error("the stored law has version = {found}, but this program reads versions up to {LAW_VERSION}")]
    Newer {
        /// The version found.
        found: i64,
    },
    /// A number is missing or no number.
    #[error("the stored law has no number {field}")]
    Missing {
        /// Dotted path of the field.
        field: String,
    },
    /// The runs have changed since.
    #[error("the stored law was fitted on runs with SHA-256 {stored}, but the runs here have {found}")]
    OtherRuns {
        /// SHA-256 in the file.
        stored: String,
        /// SHA-256 of the runs.
        found: String,
    },
}

impl StoredLawError {
    /// Advice, apart from the error.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Newer { .. } => "update shoestring".into(),
            Self::Syntax(_) | Self::Missing { .. } | Self::OtherRuns { .. } => {
                "fit it again: shoestring law fit --out law.toml".into()
            }
        })
    }
}

/// SHA-256 of a table of runs, in hexadecimal.
#[must_use]
pub fn fingerprint(runs_csv: &str) -> String {
    Sha256::digest(runs_csv.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Six significant digits: more would be noise of the solver.
fn rounded(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

fn drop_table(law: &DropLaw) -> toml::Table {
    let mut table = toml::Table::new();
    table.insert("scale_points".into(), rounded(law.scale).into());
    table.insert("size_exponent".into(), rounded(law.size_exponent).into());
    table.insert("length_exponent".into(), rounded(law.length_exponent).into());
    table
}

fn width_table(width: Width) -> toml::Table {
    let mut table = toml::Table::new();
    table.insert("base_points".into(), rounded(width.base).into());
    table.insert("per_distance_points".into(), rounded(width.per_distance).into());
    table.insert("per_short_points".into(), rounded(width.per_short).into());
    table.insert("unknown_data_points".into(), rounded(width.unknown_data).into());
    table.insert("unknown_family_points".into(), rounded(width.unknown_family).into());
    table
}

fn retrieval_table(law: &RetrievalLaw) -> toml::Table {
    let mut table = toml::Table::new();
    for ((name, ..), value) in FEATURES.iter().zip(&law.theta) {
        table.insert((*name).into(), rounded(*value).into());
    }
    let effects = |all: Vec<(&str, usize)>| -> toml::Table {
        all.into_iter()
            .filter(|(_, at)| law.theta[*at] != 0.0)
            .map(|(name, at)| (name.to_owned(), rounded(law.theta[at]).into()))
            .collect()
    };
    let sets = dataset::known().iter().enumerate().filter(|(index, _)| dataset::quality_of(*index) == *index);
    let sets = effects(sets.map(|(index, set)| (set.name, retrieval::dataset_at(index))).collect());
    let families =
        effects(Family::ALL.iter().map(|family| (family.name(), retrieval::family_at(*family))).collect());
    table.insert("dataset".into(), sets.into());
    table.insert("family".into(), families.into());
    table.insert("interval".into(), width_table(law.width).into());
    table
}

/// The fitted law as `law.toml`; `runs_csv` is the text of the table it was fitted on.
#[must_use]
pub fn write_law(fitted: &FittedLaw, runs_csv: &str) -> String {
    let law = &fitted.law;
    let c = &law.coefficients;
    let used = |sum: f64| sum != 1.0;
    let mut root = toml::Table::new();
    root.insert("version".into(), LAW_VERSION.into());
    root.insert("runs_sha256".into(), fingerprint(runs_csv).into());
    root.insert("runs_fitted".into(), (fitted.residuals.len() as i64).into());
    root.insert("leave_one_out_error_points".into(), rounded(fitted.leave_one_out_error()).into());
    root.insert("leave_paper_out_error_points".into(), rounded(fitted.leave_paper_out_error()).into());

    let mut globals = toml::Table::new();
    for (index, definition) in GLOBALS.iter().enumerate() {
        globals.insert(definition.name.into(), rounded(c.get(index)).into());
    }
    root.insert("accuracy".into(), globals.into());

    let mut sets = toml::Table::new();
    for (index, set) in dataset::known().iter().enumerate() {
        let at = parameters::dataset_at(index);
        if dataset::quality_of(index) == index && (used(c.get(at)) || used(c.get(at + 1))) {
            let mut table = toml::Table::new();
            table.insert("error_multiplier".into(), rounded(c.get(at)).into());
            table.insert("sample_efficiency".into(), rounded(c.get(at + 1)).into());
            sets.insert(set.name.into(), table.into());
        }
    }
    root.insert("dataset".into(), sets.into());

    let mut families = toml::Table::new();
    for family in Family::ALL {
        let value = c.get(parameters::family_at(*family));
        if used(value) {
            families.insert(family.name().into(), rounded(value).into());
        }
    }
    root.insert("family_error_multiplier".into(), families.into());

    root.insert("interval".into(), width_table(law.width).into());

    let mut papers = toml::Table::new();
    papers.insert("within_sd".into(), rounded(law.paper_spread.within).into());
    papers.insert("between_sd".into(), rounded(law.paper_spread.between).into());
    root.insert("papers".into(), papers.into());

    let by_name = |laws: &[DropLaw; 4], names: [&str; 4]| {
        let mut table = toml::Table::new();
        for (law, name) in laws.iter().zip(names) {
            table.insert(name.into(), drop_table(law).into());
        }
        toml::Value::from(table)
    };
    let image_names = IMAGE_REDUCTIONS.map(|(_, name)| name);
    let mut inverse = toml::Table::new();
    inverse.insert("image_before".into(), by_name(&law.inverse.image_before, image_names));
    inverse.insert("image_after".into(), by_name(&law.inverse.image_after, image_names));
    inverse.insert("text".into(), by_name(&law.inverse.text, TEXT_REDUCTIONS.map(|(_, name)| name)));
    inverse.insert("tuning_mask".into(), drop_table(&law.inverse.tuning_mask).into());
    root.insert("inverse".into(), inverse.into());
    let retrieval: toml::Table =
        law.retrieval.iter().map(|law| (law.target.name().to_owned(), retrieval_table(law).into())).collect();
    root.insert("retrieval".into(), retrieval.into());
    format!(
        "# The accuracy law, fitted on runs.csv. Written by `shoestring law fit`;\n\
         # a test fits it again and compares.\n{root}"
    )
}

/// Looks numbers up by dotted path.
struct Reader(toml::Table);

impl Reader {
    fn find(&self, path: &[&str]) -> Option<f64> {
        let (first, rest) = path.split_first()?;
        let found = rest.iter().try_fold(self.0.get(*first)?, |value, key| value.get(*key))?;
        found
            .as_float()
            .or_else(|| found.as_integer().map(|value| value as f64))
            .filter(|value| value.is_finite())
    }

    fn number(&self, path: &[&str]) -> Result<f64, StoredLawError> {
        self.find(path).ok_or_else(|| StoredLawError::Missing { field: path.join(".") })
    }

    fn drop_law(&self, path: &[&str]) -> Result<DropLaw, StoredLawError> {
        let number = |field| self.number(&[path, &[field]].concat());
        Ok(DropLaw {
            scale: number("scale_points")?,
            size_exponent: number("size_exponent")?,
            length_exponent: number("length_exponent")?,
        })
    }

    fn width(&self, path: &[&str]) -> Result<Width, StoredLawError> {
        let at = |field| [path, &[field]].concat();
        Ok(Width {
            base: self.number(&at("base_points"))?,
            per_distance: self.number(&at("per_distance_points"))?,
            per_short: self.number(&at("per_short_points"))?,
            unknown_data: self.number(&at("unknown_data_points"))?,
            // Absent in files of older programs.
            unknown_family: self.find(&at("unknown_family_points")).unwrap_or(0.0),
        })
    }

    /// The law of a target; `None` where the file has none.
    fn retrieval_law(
        &self,
        target: RetrievalTarget,
        runs: &[PublishedRun],
    ) -> Result<Option<RetrievalLaw>, StoredLawError> {
        let name = target.name();
        if self.find(&["retrieval", name, FEATURES[0].0]).is_none() {
            return Ok(None);
        }
        let mut features = [0.0; FEATURES.len()];
        for (value, (feature, ..)) in features.iter_mut().zip(FEATURES) {
            *value = self.number(&["retrieval", name, feature])?;
        }
        let mut theta = RetrievalLaw::without_effects(features);
        for (index, set) in dataset::known().iter().enumerate() {
            if let Some(value) = self.find(&["retrieval", name, "dataset", set.name]) {
                theta[retrieval::dataset_at(index)] = value;
            }
        }
        for family in Family::ALL {
            if let Some(value) = self.find(&["retrieval", name, "family", family.name()]) {
                theta[retrieval::family_at(*family)] = value;
            }
        }
        let width = self.width(&["retrieval", name, "interval"])?;
        Ok(Some(RetrievalLaw::new(target, theta, width, runs)))
    }

    fn drop_laws(&self, kind: &str, names: [&str; 4]) -> Result<[DropLaw; 4], StoredLawError> {
        let law = |index: usize| self.drop_law(&["inverse", kind, names[index]]);
        Ok([law(0)?, law(1)?, law(2)?, law(3)?])
    }
}

/// Reads `law.toml`. `runs` and their text `runs_csv` must be those that it was fitted on.
pub fn read_law(text: &str, runs: &[PublishedRun], runs_csv: &str) -> Result<Law, StoredLawError> {
    let table: toml::Table =
        toml::from_str(text).map_err(|error| StoredLawError::Syntax(error.message().to_owned()))?;
    if let Some(found) = table.get("version").and_then(toml::Value::as_integer)
        && found > LAW_VERSION
    {
        return Err(StoredLawError::Newer { found });
    }
    let stored = table.get("runs_sha256").and_then(toml::Value::as_str).unwrap_or_default().to_owned();
    let found = fingerprint(runs_csv);
    if stored != found {
        return Err(StoredLawError::OtherRuns { stored, found });
    }
    let reader = Reader(table);
    let mut values = vec![1.0; parameters::length()];
    for (index, definition) in GLOBALS.iter().enumerate() {
        values[index] = reader.number(&["accuracy", definition.name])?;
    }
    for (index, set) in dataset::known().iter().enumerate() {
        if dataset::quality_of(index) != index {
            continue;
        }
        let at = parameters::dataset_at(index);
        values[at] = reader.find(&["dataset", set.name, "error_multiplier"]).unwrap_or(1.0);
        values[at + 1] = reader.find(&["dataset", set.name, "sample_efficiency"]).unwrap_or(1.0);
    }
    for family in Family::ALL {
        values[parameters::family_at(*family)] =
            reader.find(&["family_error_multiplier", family.name()]).unwrap_or(1.0);
    }
    let image_names = IMAGE_REDUCTIONS.map(|(_, name)| name);
    Ok(Law {
        coefficients: Coefficients { values },
        width: reader.width(&["interval"])?,
        surroundings: Surroundings::new(runs),
        ranges: Ranges::of(&fit::observations(runs)),
        inverse: InverseLaw {
            image_before: reader.drop_laws("image_before", image_names)?,
            image_after: reader.drop_laws("image_after", image_names)?,
            text: reader.drop_laws("text", TEXT_REDUCTIONS.map(|(_, name)| name))?,
            tuning_mask: reader.drop_law(&["inverse", "tuning_mask"])?,
        },
        // Absent in files of older programs.
        paper_spread: match (reader.find(&["papers", "within_sd"]), reader.find(&["papers", "between_sd"])) {
            (Some(within), Some(between)) => PaperSpread { within, between },
            _ => PaperSpread::UNKNOWN,
        },
        retrieval: RetrievalTarget::ALL
            .into_iter()
            .filter_map(|target| reader.retrieval_law(target, runs).transpose())
            .collect::<Result<_, _>>()?,
        error_multiplier: 1.0,
    })
}
