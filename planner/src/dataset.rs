//! Known training sets: their names, how people also write them, and how many different pairs they hold.

use crate::names::UnknownName;
use crate::units::Samples;

/// A training set that published runs used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// Name as the law writes it.
    pub name: &'static str,
    /// Other spellings that mean the same set.
    pub aliases: &'static [&'static str],
    /// Different image-caption pairs; `None` where the authors do not say.
    pub unique_samples: Option<Samples>,
    /// Whether anybody can download it today (links at least).
    pub public: bool,
    /// The largest set that the same rule filters from the same pool, of which this set's pool is a random part.
    pub filtered_like: Option<&'static str>,
}

const fn millions(count: u64) -> Option<Samples> {
    Some(Samples(count * 1_000_000))
}

macro_rules! sets {
    ($($name:literal [$($alias:literal),*] $unique:expr, $public:literal $(, like $like:literal)?;)*) => {
        &[$(Dataset {
            name: $name,
            aliases: &[$($alias),*],
            unique_samples: $unique,
            public: $public,
            filtered_like: sets!(@ $($like)?),
        }),*]
    };
    (@) => { None };
    (@ $like:literal) => { Some($like) };
}

/// All known sets. Sizes are those of their papers (DataComp 2304.14108, LAION 2111.02114 and 2210.08402,
/// Cherti et al. 2212.07143, MetaCLIP 2309.16671, DFN 2309.17425, CLIP 2103.00020, EVA-CLIP 2303.15389).
const KNOWN: &[Dataset] = sets! {
    "DataComp-1B" ["datacomp", "datacomp-xl", "datacomp-1.4b"] millions(1_400), true;
    "Re-LAION-1.4B" ["relaion", "relaion2b-en"] millions(1_400), true;
    "LAION-2B" ["laion2b-en"] millions(2_170), true;
    "LAION-400M" ["laion"] millions(407), true;
    "LAION-80M" [] millions(80), true;
    "WIT-400M" ["wit", "openai"] millions(400), false;
    "WebLI-en" ["webli"] None, false;
    "MetaCLIP-400M" [] millions(400), true;
    "MetaCLIP-2.5B" ["metaclip", "metaclip-fullcc"] millions(2_500), true;
    "DFN-2B" ["dfn"] millions(2_000), true;
    "DFN-5B" [] millions(5_000), false;
    "Merged-2B" [] millions(2_000), false;
    "DataComp-1B subset L" ["datacomp-l", "datacomp-large"] millions(140), true, like "DataComp-1B";
    "DataComp-1B subset M" ["datacomp-m", "datacomp-medium"] millions(14), true, like "DataComp-1B";
    "CommonPool-XL unfiltered" ["commonpool", "commonpool-xl"] millions(12_800), true;
    "CommonPool-XL clip-filter" ["commonpool-xl-clip"] None, true;
    "CommonPool-XL laion-filter" ["commonpool-xl-laion"] None, true;
    "CommonPool-L unfiltered" ["commonpool-l"] millions(1_280), true, like "CommonPool-XL unfiltered";
    "CommonPool-L clip-filter" ["commonpool-l-clip"] None, true, like "CommonPool-XL clip-filter";
    "CommonPool-L laion-filter" ["commonpool-l-laion"] None, true, like "CommonPool-XL laion-filter";
    "CommonPool-L image-filter" ["commonpool-l-image"] None, true;
    "CommonPool-L text-filter" ["commonpool-l-text"] None, true;
    "CommonPool-L basic-filter" ["commonpool-l-basic"] None, true;
    "CommonPool-M unfiltered" ["commonpool-m"] millions(128), true, like "CommonPool-XL unfiltered";
    "CommonPool-M clip-filter" ["commonpool-m-clip"] None, true, like "CommonPool-XL clip-filter";
    "CommonPool-M laion-filter" ["commonpool-m-laion"] None, true, like "CommonPool-XL laion-filter";
    "CommonPool-M image-filter" ["commonpool-m-image"] None, true, like "CommonPool-L image-filter";
    "CommonPool-M text-filter" ["commonpool-m-text"] None, true, like "CommonPool-L text-filter";
    "CommonPool-M basic-filter" ["commonpool-m-basic"] None, true, like "CommonPool-L basic-filter";
};

/// Every known data set, the most used first.
#[must_use]
pub fn known() -> &'static [Dataset] {
    KNOWN
}

/// Letters and digits only, lower case: `DataComp-1B`, `datacomp_1b` and `Datacomp 1B` are one name.
fn key(name: &str) -> impl Iterator<Item = char> + Clone {
    name.chars().filter(|letter| letter.is_alphanumeric() || *letter == '.').flat_map(char::to_lowercase)
}

/// The known set of this name or alias, whatever its case and punctuation. Does not allocate.
#[must_use]
pub fn lookup(name: &str) -> Option<&'static Dataset> {
    index_of(name).map(|index| &known()[index])
}

/// Position in [`known`] of the largest set that is filtered from the same pool by the same rule. The pools of DataComp
/// are random parts of one another (arXiv 2304.14108, section 3.1), so one filter leaves pairs of the same quality of
/// each, only fewer of them.
pub(crate) const fn quality_of(index: usize) -> usize {
    QUALITY[index]
}

static QUALITY: [usize; KNOWN.len()] = {
    let mut of = [0; KNOWN.len()];
    let mut index = 0;
    while index < KNOWN.len() {
        of[index] = match KNOWN[index].filtered_like {
            None => index,
            Some(name) => position(name),
        };
        index += 1;
    }
    of
};

/// Position of exactly this name, at compile time.
const fn position(name: &str) -> usize {
    let mut index = 0;
    while index < KNOWN.len() {
        let (a, b) = (name.as_bytes(), KNOWN[index].name.as_bytes());
        let mut at = 0;
        while at < a.len() && at < b.len() && a[at] == b[at] {
            at += 1;
        }
        if at == a.len() && at == b.len() {
            return index;
        }
        index += 1;
    }
    panic!("no set of this name")
}

/// Position in [`known`] of the set of this name or alias.
pub(crate) fn index_of(name: &str) -> Option<usize> {
    // A search asks by the million, and by the set's own name.
    if let Some(index) = known().iter().position(|set| set.name == name) {
        return Some(index);
    }
    let asked = key(name);
    known().iter().position(|set| {
        key(set.name).eq(asked.clone()) || set.aliases.iter().any(|alias| key(alias).eq(asked.clone()))
    })
}

/// [`lookup`], with an error that names the nearest known sets.
pub fn find(name: &str) -> Result<&'static Dataset, UnknownName> {
    lookup(name).ok_or_else(|| {
        let words =
            known().iter().flat_map(|set| std::iter::once(set.name).chain(set.aliases.iter().copied()));
        UnknownName::new("data set", name, words)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_does_not_matter() {
        for name in ["DataComp-1B", "datacomp_1b", "Datacomp 1B", "datacomp"] {
            assert_eq!(find(name).map(|set| set.name), Ok("DataComp-1B"), "{name}");
        }
        assert_eq!(find("laion2B-en").map(|set| set.unique_samples), Ok(millions(2_170)));
    }

    #[test]
    fn an_unknown_name_gets_the_nearest_known_one() {
        let error = find("datacmop1b").expect_err("misspelled");
        assert!(error.nearest.iter().any(|name| name.to_lowercase().starts_with("datacomp")), "{error:?}");
        assert!(error.hint().is_some());
        assert!(find("my-own-photos").is_err());
    }

    #[test]
    fn no_two_sets_share_a_name() {
        let mut keys: Vec<String> = known()
            .iter()
            .flat_map(|set| std::iter::once(&set.name).chain(set.aliases).map(|word| key(word).collect()))
            .collect();
        let all = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), all);
    }
}
