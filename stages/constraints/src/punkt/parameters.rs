//! What Punkt has to know about a language.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use super::english;

/// The parameters, named as in NLTK.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// Abbreviations, in lower case and without the last full stop.
    abbrev_types: HashSet<String>,
    /// Pairs of words that belong together although the first ends in a full stop.
    collocations: HashSet<(String, String)>,
    /// Words that often start a sentence.
    sent_starters: HashSet<String>,
    /// The cases and places each word is known in.
    ortho_context: HashMap<String, Case>,
}

/// Cases and places that a word is known in, as NLTK's bits.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Case(u8);

impl Case {
    /// With a capital within a sentence.
    pub const UPPER_INSIDE: Self = Self(4);
    /// With a capital at the start of a sentence, within one, or at an unknown place.
    pub const UPPER: Self = Self(2 | 4 | 8);
    /// Without a capital at the start of a sentence.
    pub const LOWER_FIRST: Self = Self(16);
    /// Without a capital within a sentence.
    pub const LOWER_INSIDE: Self = Self(32);
    /// Without a capital at any place.
    pub const LOWER: Self = Self(16 | 32 | 64);

    /// Whether any of `cases` is known.
    pub fn any(self, cases: Self) -> bool {
        self.0 & cases.0 != 0
    }
}

impl Parameters {
    /// English, of the crate's own making.
    pub fn english() -> Self {
        let owned = |words: &str| words.split_whitespace().map(str::to_owned).collect::<HashSet<_>>();
        let small = owned(english::SMALL).into_iter().map(|word| (word, Case::LOWER_INSIDE));
        Self {
            abbrev_types: owned(english::ABBREVIATIONS),
            collocations: HashSet::new(),
            sent_starters: owned(english::STARTERS),
            ortho_context: small.collect(),
        }
    }

    /// Whether `stem`, or what follows its last hyphen, is an abbreviation without its full stop.
    pub fn is_abbreviation(&self, stem: &str) -> bool {
        let last = stem.rsplit('-').next().unwrap_or(stem);
        [stem, last].iter().any(|stem| self.abbrev_types.contains(*stem))
    }

    pub fn is_collocation(&self, one: &str, next: &str) -> bool {
        self.collocations.contains(&(one.to_owned(), next.to_owned()))
    }

    pub fn is_starter(&self, word: &str) -> bool {
        self.sent_starters.contains(word)
    }

    pub fn context(&self, word: &str) -> Case {
        self.ortho_context.get(word).copied().unwrap_or_default()
    }
}
