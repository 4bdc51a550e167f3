//! The profiles: how often each n-gram occurs in each language.

use std::collections::HashMap;
use std::io::Read;

use flate2::read::GzDecoder;

/// Written by `data/pack.py`, which says how.
static PACKED: &[u8] = include_bytes!("../../data/langdetect.gz");

/// An n-gram of one to three characters, as one number: 21 bits a character.
pub type Gram = u64;

/// `gram` with `next` after it.
pub fn longer(gram: Gram, next: char) -> Gram {
    gram << 21 | u64::from(next)
}

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
        let (mut languages, mut totals) = (Vec::new(), Vec::new());
        for line in rest.lines()? {
            let (code, counts) = line.split_once(' ')?;
            languages.push(code.to_owned());
            totals.push(counts.split(' ').map(|count| count.parse().ok()).collect::<Option<Vec<f64>>>()?);
        }
        let kanji = rest.lines()?.into_iter().flat_map(one_for_all).collect();
        let grams = rest.grams()?;
        let (mut rows, mut shares) = (HashMap::with_capacity(grams.len()), Vec::new());
        for (gram, _) in &grams {
            let from = shares.len() as u32;
            for _ in 0..rest.byte()? {
                shares.push(Share { language: usize::from(rest.byte()?), share: 0.0 });
            }
            rows.insert(*gram, (from, shares.len() as u32));
        }
        let lengths = grams.iter().flat_map(|(gram, length)| {
            let (from, to) = rows.get(gram).copied().unwrap_or_default();
            (from..to).map(|_| *length)
        });
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

/// Every character of a class with the first, which stands for all.
fn one_for_all(class: &str) -> impl Iterator<Item = (char, char)> {
    let first = class.chars().next();
    class.chars().filter_map(move |kanji| Some((kanji, first?)))
}

/// What is left to read.
struct Bytes<'b>(&'b [u8]);

impl<'b> Bytes<'b> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A number in seven bits a byte, the lowest first.
    fn number(&mut self) -> Option<u32> {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.byte()?;
            number |= u32::from(byte & 127).checked_shl(shift)?;
            shift += 7;
            if byte < 128 {
                return Some(number);
            }
        }
    }

    /// The lines before the next empty one.
    fn lines(&mut self) -> Option<Vec<&'b str>> {
        let end = self.0.windows(2).position(|pair| pair == b"\n\n")?;
        let (lines, rest) = self.0.split_at(end);
        self.0 = &rest[2..];
        Some(std::str::from_utf8(lines).ok()?.lines().collect())
    }

    fn char(&mut self) -> Option<char> {
        let length = match self.0.first()? {
            0..0x80 => 1,
            0x80..0xe0 => 2,
            0xe0..0xf0 => 3,
            _ => 4,
        };
        let (char, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(char).ok()?.chars().next()
    }

    /// The n-grams with their lengths, each written as what differs from the one before.
    fn grams(&mut self) -> Option<Vec<(Gram, usize)>> {
        let (mut grams, mut chars) = (Vec::new(), Vec::new());
        for _ in 0..self.number()? {
            let head = usize::from(self.byte()?);
            chars.truncate(head >> 2);
            while chars.len() < head & 3 {
                chars.push(self.char()?);
            }
            grams.push((chars.iter().fold(0, |gram, next| longer(gram, *next)), chars.len()));
        }
        Some(grams)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

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
