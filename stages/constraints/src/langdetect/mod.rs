//! The language of a text, as Python's langdetect 1.0.9 detects it (a port of Nakatani Shuyo's language-detection).
//!
//! A naive Bayes classifier over n-grams of one to three characters. In each of seven trials, n-grams w of the text are drawn at
//! random with replacement, and each language's probability is multiplied by p(w | language) + alpha / 10000, where alpha is
//! normal with mean 0.5 and deviation 0.05. Every fifth draw the probabilities are normalised; a trial ends when one is above
//! 0.99999, or after 1000 draws. The language is the one of the highest mean over the trials, if that is above 0.1.
//!
//! langdetect seeds itself from the clock unless told otherwise, so on texts that are short or of several languages its answers
//! vary. Here the seed is always [`SEED`] and the generator is Python's own, so the answer is always what langdetect says after
//! `DetectorFactory.seed = 0`. It can differ from an unseeded run only where that differs from another one.

mod gram;
mod names;
mod packed;
mod profiles;
mod random;
mod text;

use std::sync::LazyLock;

use gram::longer;
pub use names::name;
use profiles::Profiles;
use random::Random;
use text::Addresses;

/// Seed of every detection.
const SEED: u32 = 0;
const TRIALS: u32 = 7;
const DRAWS: usize = 1000;
/// A trial's probabilities are looked at after every so many draws.
const LOOK: usize = 5;
const ALPHA: f64 = 0.5;
const ALPHA_DEVIATION: f64 = 0.05;
const BASE_FREQUENCY: f64 = 10_000.0;
/// A probability above this ends a trial.
const CERTAIN: f64 = 0.99999;
/// A mean probability up to this is none.
const POSSIBLE: f64 = 0.1;

/// The detector, loaded at its first use.
pub static DETECTOR: LazyLock<Result<Detector, String>> =
    LazyLock::new(|| Ok(Detector { profiles: Profiles::load()?, addresses: Addresses::new()? }));

/// Detects languages.
pub struct Detector {
    profiles: Profiles,
    addresses: Addresses,
}

/// Where the shares of one n-gram are.
type Row = (u32, u32);

impl Detector {
    /// The code of the language of `text`, or "unknown" where none is likely. `None` where the text has no n-gram of any language:
    /// langdetect fails there.
    pub fn detect(&self, text: &str) -> Option<&str> {
        let rows = self.rows(text);
        if rows.is_empty() {
            return None;
        }
        let (mut random, mut means) = (Random::new(SEED), vec![0.0; self.profiles.languages.len()]);
        for _ in 0..TRIALS {
            let trial = self.trial(&rows, &mut random);
            means.iter_mut().zip(trial).for_each(|(mean, chance)| *mean += chance / f64::from(TRIALS));
        }
        // Of equal ones the first counts.
        let likely = self.profiles.languages.iter().zip(means).filter(|(_, mean)| *mean > POSSIBLE);
        let best = likely.reduce(|best, next| if next.1 > best.1 { next } else { best });
        Some(best.map_or("unknown", |(language, _)| language))
    }

    /// Whether `text` passes for one of `language`: nothing else is detected. Where detection fails, nothing is.
    pub fn passes_for(&self, text: &str, language: &str) -> bool {
        self.detect(text).is_none_or(|detected| detected == language)
    }

    /// The n-grams of `text` that any language has, in order.
    fn rows(&self, text: &str) -> Vec<Row> {
        let (mut rows, mut last, mut before) = (Vec::new(), ' ', None);
        for c in text::chars(text, &self.addresses) {
            let c = text::normal(c, &self.profiles.kanji);
            if last == ' ' {
                before = None;
            }
            // From the second of a run of capitals on, nothing counts: such words are often names.
            let capitals = c.is_uppercase() && last.is_uppercase();
            if !capitals && (last, c) != (' ', ' ') {
                rows.extend(self.grams_ending(before, last, c));
            }
            (before, last) = (Some(last), c);
        }
        rows
    }

    /// The n-grams that end with `c`, shortest first.
    fn grams_ending(&self, before: Option<char>, last: char, c: char) -> impl Iterator<Item = Row> {
        let one = longer(0, c);
        let two = longer(longer(0, last), c);
        let three = before.map(|before| longer(longer(longer(0, before), last), c));
        let one = (c != ' ').then_some(one);
        [one, Some(two), three].into_iter().flatten().filter_map(|gram| self.profiles.row(gram))
    }

    /// The probability of each language after one trial.
    fn trial(&self, rows: &[Row], random: &mut Random) -> Vec<f64> {
        let count = self.profiles.languages.len();
        let (mut chances, mut factors) = (vec![1.0 / count as f64; count], vec![0.0; count]);
        let floor = (ALPHA + random.normal() * ALPHA_DEVIATION) / BASE_FREQUENCY;
        for draw in 0..=DRAWS {
            factors.fill(floor);
            for share in self.profiles.shares(rows[random.index(rows.len())]) {
                factors[share.language] += share.share;
            }
            chances.iter_mut().zip(&factors).for_each(|(chance, factor)| *chance *= factor);
            if draw % LOOK == 0 && normalised(&mut chances) > CERTAIN {
                break;
            }
        }
        chances
    }
}

/// Scales `chances` to the sum 1 and returns the highest.
fn normalised(chances: &mut [f64]) -> f64 {
    let sum: f64 = chances.iter().sum();
    chances.iter_mut().for_each(|chance| *chance /= sum);
    chances.iter().copied().fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Python's langdetect 1.0.9 says with the seed 0.
    #[test]
    fn the_languages_are_those_of_langdetect() {
        let detector = DETECTOR.as_ref().unwrap();
        for (text, language) in LANGUAGES {
            assert_eq!(detector.detect(text), *language, "{text}");
        }
    }

    #[test]
    fn every_language_has_a_name() {
        let languages = &DETECTOR.as_ref().unwrap().profiles.languages;
        assert_eq!(languages.len(), names::NAMES.len());
        assert!(languages.iter().all(|code| name(code).is_some()));
    }

    const LANGUAGES: &[(&str, Option<&str>)] = &[
        ("The river is wide and the bridge is old.", Some("en")),
        ("THE RIVER IS WIDE AND THE BRIDGE IS OLD", Some("en")),
        ("the river", Some("en")),
        ("Ein Fluss ist breit.", Some("de")),
        ("Otec matka syn.", Some("pl")),
        ("La rivière est large, n'est-ce pas ?", Some("fr")),
        ("河は広いです。", Some("ja")),
        ("河流很宽阔，桥很旧。", Some("zh-cn")),
        ("河流很寬闊，橋很舊。", Some("zh-tw")),
        ("강은 넓다", Some("ko")),
        ("नदी चौड़ी है।", Some("hi")),
        ("แม่น้ำกว้าง", Some("th")),
        ("النهر واسع", Some("ar")),
        ("رودخانه پهن است", Some("fa")),
        ("Dòng sông rất rộng và cây cầu đã cũ", Some("vi")),
        ("Do\u{300}ng so\u{302}ng ra\u{302}\u{301}t ro\u{323}ng", Some("vi")),
        ("Râul este lat și vechi", Some("ro")),
        ("Річка широка", Some("uk")),
        ("Река широка, а мост стар: https://example.org/the/river/is/wide", Some("mk")),
        ("write to me@example.org", Some("en")),
        ("https://example.org/a?b=c", None),
        ("Il fiume è largo", Some("it")),
        ("O rio é largo", Some("pt")),
        ("12, 34; 56!", None),
        ("NASA", Some("vi")),
        ("日本語と English words の混ざった文です。", Some("ja")),
        ("русский text with English words, слова", Some("en")),
        ("xq zj qq", Some("sq")),
        ("naïve café", Some("fr")),
        ("Mto ni mpana na daraja ni la zamani", Some("sw")),
    ];
}
