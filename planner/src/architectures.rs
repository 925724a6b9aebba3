//! The architectures known by name.

use std::sync::LazyLock;

use crate::architecture::Architecture;
use crate::names::{UnknownName, folded};

static CLIPA: &str = include_str!("../data/architectures/clipa.json");
static SMALL: &str = include_str!("../data/architectures/small.json");
static OPEN_CLIP: &str = include_str!("../data/architectures/open_clip.json");

/// Parses an embedded list; an entry that does not parse is a fault of this crate, shown by its tests.
fn parsed(texts: &[&str]) -> Vec<Architecture> {
    texts
        .iter()
        .flat_map(|text| {
            let list: Vec<Architecture> = serde_json::from_str(text).unwrap_or_default();
            list
        })
        .collect()
}

static BUILT_IN: LazyLock<Vec<Architecture>> = LazyLock::new(|| parsed(&[CLIPA, SMALL]));
static REFERENCE: LazyLock<Vec<Architecture>> = LazyLock::new(|| parsed(&[OPEN_CLIP]));

/// What the search chooses among, smallest to largest in each family: CLIPA's (arXiv 2305.07017, table 4; L/14 and
/// g/14 with the image towers of `open_clip`), and small ones for 64 px images that two CPU cores train in
/// minutes.
#[must_use]
pub fn built_in() -> &'static [Architecture] {
    &BUILT_IN
}

/// `open_clip`'s plain towers (class token, 77 text tokens), which published runs used: found by name, not searched.
#[must_use]
pub fn reference() -> &'static [Architecture] {
    &REFERENCE
}

/// Finds an architecture by its name (`ViT-H-14-CLIPA`), or by the short name papers use (`H/14`, `ViT-L/16`),
/// which means CLIPA's. Case only matters between `g/14` and `G/14`, which is bigG.
pub fn find(name: &str) -> Result<&'static Architecture, UnknownName> {
    let all = || built_in().iter().chain(reference());
    let trimmed = name.trim();
    if let Some(exact) = all().find(|architecture| architecture.name == trimmed) {
        return Ok(exact);
    }
    let wanted = short(trimmed);
    all()
        .find(|architecture| short(&architecture.name) == wanted)
        .ok_or_else(|| UnknownName::new("architecture", name, all().map(|known| known.name.as_str())))
}

/// `ViT-H-14-CLIPA`, `ViT-H/14`, `h14` -> `h14`; `G/14` -> `bigg14`.
fn short(name: &str) -> String {
    let bare = name.strip_prefix("ViT").unwrap_or(name).trim_start_matches(['-', '/', '_', ' ']);
    let capital = bare.strip_prefix('G').map(|rest| format!("bigG{rest}"));
    let lower = folded(capital.as_deref().unwrap_or(bare));
    let lower = lower.strip_prefix("vit").map_or(lower.as_str(), |rest| rest);
    lower.strip_suffix("clipa").unwrap_or(lower).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::parameters;

    #[test]
    fn every_entry_parses_checks_and_has_its_own_name() {
        assert_eq!(built_in().len(), 12);
        assert_eq!(reference().len(), 14);
        let mut names: Vec<_> = built_in().iter().chain(reference()).map(|known| &known.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 26);
        for architecture in built_in().iter().chain(reference()) {
            architecture.check().expect("a valid architecture");
        }
    }

    #[test]
    fn short_names_mean_clipas() {
        for (typed, name) in [
            ("H/14", "ViT-H-14-CLIPA"),
            ("h14", "ViT-H-14-CLIPA"),
            ("ViT-L/16", "ViT-L-16-CLIPA"),
            ("vit-l-14", "ViT-L-14-CLIPA"),
            ("G/14", "ViT-bigG-14-CLIPA"),
            ("g/14", "ViT-g-14-CLIPA"),
            ("bigG-14", "ViT-bigG-14-CLIPA"),
            ("ViT-H-14", "ViT-H-14"),
            ("tiny-8", "ViT-Tiny-8"),
        ] {
            assert_eq!(find(typed).expect(typed).name, name, "{typed}");
        }
        let error = find("ViT-J-14").expect_err("there is none");
        assert!(!error.nearest.is_empty());
        assert!(error.hint().expect("a hint").starts_with("did you mean"));
    }

    #[test]
    fn clipas_sizes_are_the_papers() {
        // arXiv 2305.07017, table 4: millions of parameters, image and text; g/14 is not in it.
        for (name, image, text) in [
            ("S/16", 22.0, 33.0),
            ("B/16", 86.0, 53.0),
            ("L/16", 303.0, 109.0),
            ("H/14", 631.0, 334.0),
            ("G/14", 1844.0, 672.0),
        ] {
            let counts = parameters(find(name).expect(name));
            // The paper leaves out the projections and positions: up to 2 million.
            assert!((counts.image as f64 / 1e6 - image).abs() < 2.0, "{name} image {}", counts.image);
            assert!((counts.text as f64 / 1e6 - text).abs() < 2.5, "{name} text {}", counts.text);
        }
    }
}
