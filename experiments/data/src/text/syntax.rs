//! What each word of an English caption is to its sentence: noun, adjective, verb or the rest.
//!
//! A lexicon says what a word can be and how often it is (WordNet's counts of parts of speech), a table of
//! closed classes names the small words, endings decide for words that neither knows. Which of the possible
//! parts it is here follows from its neighbours: the likeliest sequence of parts under weights for each pair
//! (Viterbi, "Error bounds for convolutional codes", 1967). The weights were set by hand.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use super::embedded::unpack;

static LEXICON: &[u8] = include_bytes!("../../assets/lexicon.txt.deflate");

/// In the order in which syntax reduction keeps tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rank {
    /// Nouns, names included.
    Noun,
    /// Adjectives.
    Adjective,
    /// Verbs, auxiliaries included.
    Verb,
    /// Everything else.
    Rest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Noun,
    Adjective,
    Verb,
    Adverb,
    /// Determiners, possessives, numbers.
    Determiner,
    /// Prepositions and conjunctions.
    Preposition,
    /// Pronouns that stand for a noun.
    Pronoun,
    /// Forms of be, have and do, and modal verbs.
    Auxiliary,
    /// `to`.
    To,
    /// Punctuation, and what stands before the first word.
    Mark,
}

const PARTS: usize = 10;
const ALL: [Part; PARTS] = [
    Part::Noun,
    Part::Adjective,
    Part::Verb,
    Part::Adverb,
    Part::Determiner,
    Part::Preposition,
    Part::Pronoun,
    Part::Auxiliary,
    Part::To,
    Part::Mark,
];

/// Logarithm of how likely a part (column) follows another (row), roughly; both in the order of [`ALL`].
#[rustfmt::skip]
const FOLLOWS: [[f32; PARTS]; PARTS] = [
    // Noun    Adj.  Verb  Adv. Determ. Prep. Pron. Aux.   To   Mark
    [-1.4, -3.4, -1.9, -3.2, -3.0, -0.9, -3.6, -2.2, -3.0, -1.3],
    [-0.3, -2.0, -4.2, -4.0, -4.5, -2.4, -5.0, -4.0, -3.0, -2.5],
    [-2.0, -2.2, -3.3, -2.2, -1.1, -1.1, -3.0, -4.0, -2.5, -2.3],
    [-2.8, -1.3, -1.5, -2.5, -2.2, -1.4, -3.0, -3.0, -3.0, -2.0],
    [-0.5, -1.1, -4.6, -2.8, -2.6, -4.0, -5.0, -5.0, -5.0, -4.0],
    [-1.2, -1.7, -2.5, -3.5, -0.7, -3.0, -2.5, -5.0, -4.0, -5.0],
    [-3.2, -3.0, -1.0, -2.0, -3.0, -2.0, -4.0, -0.9, -3.0, -2.5],
    [-2.5, -1.6, -0.9, -1.7, -1.4, -1.9, -3.0, -2.5, -2.5, -3.0],
    [-2.2, -3.0, -0.7, -3.0, -1.2, -4.0, -2.5, -2.0, -6.0, -5.0],
    [-1.0, -1.6, -2.6, -3.0, -1.0, -2.3, -2.5, -3.5, -4.0, -2.0],
];

const DETERMINERS: &str = "a an the this that these those my your his her its our their some any no every each \
    either neither both all half another one two three four five six seven eight nine ten eleven twelve \
    thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy \
    eighty ninety hundred thousand million billion whose what which zero";
const PREPOSITIONS: &str = "about above across after against along alongside amid among amongst around as at \
    atop because before behind below beneath beside besides between beyond but by despite during except for \
    from if in inside into like near nor of off on onto opposite or out outside over past per since so than \
    through throughout till toward towards under underneath unless unlike until up upon via versus vs while \
    with within without and whether though although amidst w";
const PRONOUNS: &str = "i you he she it we they me him us them himself herself itself themselves yourself \
    myself ourselves who whom there none mine yours hers theirs oneself";
/// Plurals that no ending tells, and pronouns that taggers count among the nouns.
const NOUN_FORMS: &str = "anybody anyone anything calves children deer everybody everyone everything feet fish \
    geese halves hooves knives leaves loaves men mice nobody nothing oxen people scarves sheep shelves somebody \
    someone something teeth thieves wives wolves women";
const AUXILIARIES: &str = "is are was were be been being am has have had having do does did can could may \
    might must shall should will would cannot ain isn aren wasn weren hasn haven hadn doesn don didn couldn \
    shouldn wouldn won";
const ADVERBS: &str = "not very too also just only then here now never always often again together away \
    almost already still yet even ever soon else when where why how once twice maybe perhaps quite rather \
    really n't forward backward upside aloft downhill uphill apart aside";
/// Forms of verbs that no ending tells; with participles that captions use as adjectives.
const VERB_FORMS: &str = "ate became began bent born bitten blew blown bought bound broke brought built burnt came \
    caught chose chosen clung crept dealt drank drawn drew driven drove eaten fallen fed fell flew flown \
    forgot fought found froze gave given gone gotten grew grown held hidden hung kept knelt knew known laid \
    lain leapt led lent lit lost made met paid ran rang ridden risen rode rose said sang sat saw seen sent \
    sewn shaken shone shook shot shown shrunk slept slid sold sought sank spent spilt spoke spoken sprang \
    sprung spun stolen stood stole struck stuck sung sunk swam swept swollen swore sworn swung taken taught \
    thought threw thrown told took tore torn understood went wept woke woken won wore worn wove woven wrote \
    written got let put set cut hit hurt shut spread quit goes gets";
const ADJECTIVE_ENDINGS: [&str; 14] = [
    "ous", "ful", "ive", "able", "ible", "less", "ish", "ical", "ial", "esque", "worthy", "proof", "shaped",
    "like",
];

struct Lexicon {
    closed: HashMap<&'static str, Part>,
    verb_forms: HashSet<&'static str>,
    noun_forms: HashSet<&'static str>,
    /// Weights of noun, adjective, verb, adverb.
    open: HashMap<Box<str>, [f32; 4]>,
}

fn lexicon() -> &'static Lexicon {
    static SHARED: OnceLock<Lexicon> = OnceLock::new();
    SHARED.get_or_init(|| {
        let mut closed = HashMap::new();
        for (words, part) in [
            (ADVERBS, Part::Adverb),
            (PRONOUNS, Part::Pronoun),
            (PREPOSITIONS, Part::Preposition),
            (AUXILIARIES, Part::Auxiliary),
            (DETERMINERS, Part::Determiner),
            ("to", Part::To),
        ] {
            closed.extend(words.split_whitespace().map(|word| (word, part)));
        }
        let open = unpack(LEXICON).lines().filter_map(entry).collect();
        let set = |words: &'static str| words.split_whitespace().collect();
        Lexicon { closed, verb_forms: set(VERB_FORMS), noun_forms: set(NOUN_FORMS), open }
    })
}

/// `stop n3v7`: a word, and for each part it can be log2 of 1 + how often it was.
fn entry(line: &str) -> Option<(Box<str>, [f32; 4])> {
    let (word, parts) = line.split_once(' ')?;
    let mut weights = [0.0; 4];
    for pair in parts.as_bytes().chunks_exact(2) {
        let index = b"navr".iter().position(|part| *part == pair[0])?;
        weights[index] = f32::from(1u16 << (pair[1] - b'0'));
    }
    Some((word.into(), weights))
}

/// What each word is; words as the tokenizers split them: letters, numbers and marks apart.
#[must_use]
pub fn rank(words: &[&str]) -> Vec<Rank> {
    let lexicon = lexicon();
    let mut best = [f32::NEG_INFINITY; PARTS];
    best[Part::Mark as usize] = 0.0;
    let mut came_from: Vec<[u8; PARTS]> = Vec::with_capacity(words.len());
    let mut previous = "";
    for word in words {
        let scores = lexicon.scores(word, previous);
        let (mut next, mut from) = ([f32::NEG_INFINITY; PARTS], [0u8; PARTS]);
        for (part, score) in scores.into_iter().enumerate().filter(|(_, score)| score.is_finite()) {
            for before in 0..PARTS {
                let total = best[before] + FOLLOWS[before][part] + score;
                if total > next[part] {
                    (next[part], from[part]) = (total, before as u8);
                }
            }
        }
        came_from.push(from);
        best = next;
        previous = word;
    }
    let end = |part: usize| best[part] + FOLLOWS[part][Part::Mark as usize];
    let mut part = (0..PARTS).max_by(|&a, &b| end(a).total_cmp(&end(b))).unwrap_or(0);
    let mut ranks = vec![Rank::Rest; words.len()];
    for (rank, from) in ranks.iter_mut().zip(&came_from).rev() {
        *rank = match ALL[part] {
            Part::Noun => Rank::Noun,
            Part::Adjective => Rank::Adjective,
            Part::Verb | Part::Auxiliary => Rank::Verb,
            _ => Rank::Rest,
        };
        part = usize::from(from[part]);
    }
    ranks
}

impl Lexicon {
    /// Logarithm of how likely the word is each part; minus infinity where it cannot be.
    fn scores(&self, word: &str, previous: &str) -> [f32; PARTS] {
        let mut scores = [f32::NEG_INFINITY; PARTS];
        let mut only = |part: Part| {
            scores[part as usize] = 0.0;
            scores
        };
        if word.chars().all(char::is_numeric) {
            return only(Part::Determiner);
        }
        if !word.chars().any(char::is_alphabetic) {
            return only(Part::Mark);
        }
        let lower = word.to_lowercase();
        let after_apostrophe = previous == "'" && lower.len() <= 2;
        if lower.starts_with('\'') || after_apostrophe {
            return only(if lower.ends_with('s') { Part::Determiner } else { Part::Auxiliary });
        }
        if let Some(&part) = self.closed.get(lower.as_str()) {
            return only(part);
        }
        let weights = self.weights(&lower);
        let sum: f32 = weights.iter().sum();
        for (score, weight) in scores.iter_mut().zip(weights) {
            if weight > 0.0 {
                *score = (weight / sum).ln();
            }
        }
        scores
    }

    /// Weights of noun, adjective, verb, adverb.
    fn weights(&self, word: &str) -> [f32; 4] {
        if self.noun_forms.contains(word) {
            return [1.0, 0.0, 0.0, 0.0];
        }
        if self.verb_forms.contains(word) {
            let [noun, adjective, ..] = self.open.get(word).copied().unwrap_or_default();
            return [noun / 8.0, adjective / 4.0, 20.0, 0.0];
        }
        let known = self.open.get(word).copied();
        let verb_of = |stem: &str| self.open.get(stem).map_or(0.0, |weights| weights[2]);
        if let Some(stem) = word.strip_suffix("ing").filter(|stem| stem.len() > 1) {
            let verb = forms_of(stem).iter().map(|form| verb_of(form)).fold(0.0, f32::max);
            if verb > 0.0 {
                // What is listed as a noun (a building, a painting) may well be one; what is not, hardly.
                return match known {
                    Some([noun, adjective, ..]) if noun > 0.0 => [noun, adjective, verb.min(8.0 * noun), 0.0],
                    Some([_, adjective, ..]) => [0.4, adjective, verb.max(3.0), 0.0],
                    None => [0.4, 0.0, verb.max(3.0), 0.0],
                };
            }
        }
        if let Some(stem) = word.strip_suffix("ed").filter(|stem| stem.len() > 1) {
            let verb = forms_of(stem).iter().map(|form| verb_of(form)).fold(0.0, f32::max);
            let [noun, adjective, ..] = known.unwrap_or_default();
            return [noun / 4.0, adjective.max(1.0), verb.max(2.0), 0.0];
        }
        if let Some(known) = known {
            return known;
        }
        if word.ends_with('s') && !word.ends_with("ss") {
            let stems = [word.strip_suffix('s'), word.strip_suffix("es")];
            let ies = word.strip_suffix("ies").map(|stem| format!("{stem}y"));
            let found =
                stems.into_iter().flatten().chain(ies.as_deref()).find_map(|stem| self.open.get(stem));
            return match found {
                Some(&[noun, _, verb, _]) if verb > 0.0 => [noun.max(0.5), 0.0, verb, 0.0],
                _ => [10.0, 0.0, 0.1, 0.0],
            };
        }
        if word.ends_with("ly") {
            return [0.5, 0.5, 0.0, 10.0];
        }
        if let Some(stem) = word.strip_suffix("er").or_else(|| word.strip_suffix("est")) {
            let adjective_of = |stem: &str| self.open.get(stem).map_or(0.0, |weights| weights[1]);
            let adjective = forms_of(stem).iter().map(|form| adjective_of(form)).fold(0.0, f32::max);
            if adjective > 1.0 {
                return [1.0, 5.0, 0.0, 1.0];
            }
        }
        if word.len() > 5 && ADJECTIVE_ENDINGS.iter().any(|ending| word.ends_with(ending)) {
            return [2.0, 8.0, 0.0, 0.0];
        }
        [10.0, 0.5, 0.2, 0.0]
    }
}

/// The words that a stem may be of: `rid` of ride, `sitt` of sit, `carri` of carry.
fn forms_of(stem: &str) -> [String; 4] {
    let without_last = stem.char_indices().next_back().map_or("", |(at, _)| &stem[..at]);
    let doubled = stem.chars().rev().take(2).collect::<Vec<_>>();
    let single = if doubled.len() == 2 && doubled[0] == doubled[1] { without_last } else { "" };
    let with_y = stem.strip_suffix('i').map(|rest| format!("{rest}y")).unwrap_or_default();
    [stem.to_owned(), format!("{stem}e"), single.to_owned(), with_y]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nouns(caption: &str) -> String {
        let words: Vec<&str> = caption.split(' ').collect();
        let ranks = rank(&words);
        let kept = words.iter().zip(ranks).filter(|(_, rank)| *rank == Rank::Noun).map(|(word, _)| *word);
        kept.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn nouns_are_told_from_their_neighbours() {
        for (caption, expected) in [
            ("a man rides a horse", "man horse"),
            ("two people sitting at a wooden table", "people table"),
            ("the cars stop at the light", "cars light"),
            ("a light blue shirt", "shirt"),
            ("a tall building near the river", "building river"),
            ("they are building a house", "house"),
            ("an old painting of a woman 's face", "painting woman face"),
            ("the quokkas frolic", "quokkas frolic"),
            ("", ""),
        ] {
            assert_eq!(nouns(caption), expected, "{caption}");
        }
    }

    #[test]
    fn marks_and_numbers_are_the_rest() {
        assert_eq!(rank(&["2", ",", "\u{1f600}", "of"]), [Rank::Rest; 4]);
        assert_eq!(rank(&["dogs", "'", "s", "the"])[2], Rank::Rest);
    }
}
