//! The profiles: how often each n-gram occurs in each language.

use std::collections::HashMap;
use std::io::Read;

use flate2::read::GzDecoder;

use super::gram::Gram;
use super::packed::Bytes;

/// Written by `data/pack.py`, which says how.
static PACKED: &[u8] = include_bytes!("../../data/langdetect.gz");

/// The share that an n-gram has in a language, among those of its length.
#[derive(Clone, Copy)]
pub struct Share {
    /// The index of the language.
    pub language: usize,
    /// From 0 to 1.
    pub share: f64,
}

/// The profiles of all languages.
pub struct Profiles {
    /// The code of each language, in order.
    pub languages: Vec<String>,
    /// For each kanji that counts as another one, that one.
    pub kanji: HashMap<char, char>,
    /// Where the shares of each n-gram begin and end.
    rows: HashMap<Gram, (u32, u32)>,
    shares: Vec<Share>,
}

impl Profiles {
    /// The profiles of the crate.
    pub fn load() -> Result<Self, String> {
        let mut bytes = Vec::new();
        GzDecoder::new(PACKED).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        Self::parse(&bytes).ok_or_else(|| "the language profiles end early".into())
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = Bytes(bytes);
        let (languages, totals): (Vec<_>, Vec<_>) = rest.lines()?.into_iter().map(language).collect::<Option<_>>()?;
        let kanji = rest.lines()?.into_iter().flat_map(one_for_all).collect();
        let grams = rest.grams()?;
        let (mut rows, mut shares, mut lengths) = (HashMap::with_capacity(grams.len()), Vec::new(), Vec::new());
        for (gram, length) in grams {
            let from = shares.len() as u32;
            for _ in 0..rest.byte()? {
                shares.push(Share { language: usize::from(rest.byte()?), share: 0.0 });
                lengths.push(length);
            }
            rows.insert(gram, (from, shares.len() as u32));
        }
        for (share, length) in shares.iter_mut().zip(lengths) {
            share.share = f64::from(rest.number()?) / totals.get(share.language)?.get(length - 1)?;
        }
        Some(Self { languages, kanji, rows, shares })
    }

    /// Where the shares of `gram` are, if any profile has it.
    pub fn row(&self, gram: Gram) -> Option<(u32, u32)> {
        self.rows.get(&gram).copied()
    }

    /// The shares of a row.
    pub fn shares(&self, (from, to): (u32, u32)) -> &[Share] {
        self.shares.get(from as usize..to as usize).unwrap_or_default()
    }
}

/// A language's code, and how many n-grams of each length it was counted over.
fn language(line: &str) -> Option<(String, Vec<f64>)> {
    let (code, counts) = line.split_once(' ')?;
    let counts = counts.split(' ').map(|count| count.parse().ok());
    Some((code.to_owned(), counts.collect::<Option<_>>()?))
}

/// Every character of a class with the first, which stands for all.
fn one_for_all(class: &str) -> impl Iterator<Item = (char, char)> {
    let first = class.chars().next();
    class.chars().filter_map(move |kanji| Some((kanji, first?)))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::langdetect::gram::longer;

    /// Every frequency of the original profiles, where they are.
    #[test]
    fn the_profiles_are_those_of_langdetect() {
        let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared");
        let shared = std::env::var("OBVERT_SHARED").unwrap_or(default.into());
        let Ok(file) = std::fs::File::open(shared + "/data/nlp/langdetect_profiles_1.0.9.json.gz") else {
            eprintln!("SKIPPED: the_profiles_are_those_of_langdetect: no shared data");
            return;
        };
        let original: Value = serde_json::from_reader(GzDecoder::new(file)).unwrap();
        let (profiles, mut compared) = (Profiles::load().unwrap(), 0);
        for (index, language) in profiles.languages.iter().enumerate() {
            for (gram, frequency) in original[language]["freq"].as_object().unwrap() {
                let total = original[language]["n_words"][gram.chars().count() - 1].as_f64().unwrap();
                let row = profiles.row(gram.chars().fold(0, longer)).unwrap();
                let share = profiles.shares(row).iter().find(|share| share.language == index).unwrap().share;
                assert_eq!(share, frequency.as_f64().unwrap() / total, "{gram} in {language}");
                compared += 1;
            }
        }
        assert_eq!(compared, profiles.shares.len());
    }
}
