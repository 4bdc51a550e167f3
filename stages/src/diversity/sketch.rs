//! How similar two texts are, from little of each: MinHash (Broder 1997) over runs of five characters.

use std::collections::{HashMap, HashSet};

use obvert_trainer::random::SplitMix64;

/// Hash functions: their share of equal minima estimates the similarity, with a standard error of at most 0.09.
const FUNCTIONS: usize = 32;
/// Functions of a band. Texts that agree in a whole band are compared: of those with a similarity of 0.8 that is 98 of 100.
const BAND: usize = 4;
/// Functions that have to agree for texts to resemble each other.
const ALIKE: usize = FUNCTIONS * 4 / 5;
/// Characters of a run.
const RUN: usize = 5;

/// A text's minimum under each function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sketch([u32; FUNCTIONS]);

impl Sketch {
    /// The sketch of a text: of its letters and digits, whatever their case, and one space where there are others.
    pub(super) fn of(text: &str) -> Self {
        let mut least = [u32::MAX; FUNCTIONS];
        let letters = plain(text);
        for run in letters.windows(RUN.min(letters.len()).max(1)) {
            let hash = run.iter().fold(0xcbf2_9ce4_8422_2325, |hash, c| mixed(hash ^ u64::from(u32::from(*c))));
            for (index, least) in (1..).zip(&mut least) {
                *least = (*least).min((mixed(hash ^ mixed(index)) >> 32) as u32);
            }
        }
        Sketch(least)
    }

    fn resembles(&self, other: &Sketch) -> bool {
        self.0.iter().zip(&other.0).filter(|(one, other)| one == other).count() >= ALIKE
    }

    fn bands(&self) -> impl Iterator<Item = (usize, [u32; BAND])> {
        self.0.as_chunks().0.iter().copied().enumerate()
    }
}

fn plain(text: &str) -> Vec<char> {
    let mut out: Vec<char> = Vec::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        match c.is_alphanumeric() {
            true => out.push(c),
            false if out.last().is_some_and(|last| *last != ' ') => out.push(' '),
            false => {}
        }
    }
    out.truncate(out.len() - usize::from(out.last() == Some(&' ')));
    out
}

/// Every bit of the result depends on all of the number.
fn mixed(number: u64) -> u64 {
    SplitMix64(number).next_bits()
}

/// How many of the texts resemble another one.
pub(super) fn near_duplicates<'s>(sketches: impl Iterator<Item = &'s Sketch>) -> u64 {
    let sketches: Vec<&Sketch> = sketches.collect();
    // Of a band's texts each is compared with the first one that it resembles or none does: many equal ones cost no more than that.
    let mut bands: HashMap<(usize, [u32; BAND]), Vec<usize>> = HashMap::new();
    let mut alike = HashSet::new();
    for (index, sketch) in sketches.iter().enumerate() {
        for band in sketch.bands() {
            let firsts = bands.entry(band).or_default();
            match firsts.iter().find(|first| sketches[**first].resembles(sketch)) {
                Some(first) => alike.extend([*first, index]),
                None => firsts.push(index),
            }
        }
    }
    alike.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alike(texts: &[&str]) -> u64 {
        let sketches: Vec<Sketch> = texts.iter().map(|text| Sketch::of(text)).collect();
        near_duplicates(sketches.iter())
    }

    const LONG: &str = "You are Leo, the baker of a small town, who gets up at three and knows every customer by name.";

    #[test]
    fn texts_that_differ_in_little_are_near_duplicates() {
        let changed = LONG.replace("Leo", "Lea").to_uppercase() + "!";
        assert_eq!(alike(&[LONG, &changed, "What about rye bread?", "Do you deliver on Sundays?"]), 2);
        assert_eq!(alike(&["Hi", "hi!", "Hi.", "Ho", ""]), 3);
        assert_eq!(alike(&["你是一家茶叶店的店员，回答要简短", "你是一家茶叶店的店员；回答要简短。", "请介绍红茶"]), 2);
        assert_eq!(alike(&[]), 0);
    }

    /// The estimate is compared with the true similarity of texts that share more and more.
    #[test]
    fn agreement_estimates_the_similarity() {
        let word = |n: u64| format!("{:05}", mixed(n) % 100_000);
        let text = |from: u64| (from..from + 100).map(word).collect::<Vec<_>>().join("");
        let runs = |text: &str| plain(text).windows(RUN).map(<[char]>::to_vec).collect::<HashSet<_>>();
        for from in [0, 5, 10, 25, 50, 100] {
            let (one, other) = (text(0), text(from));
            let (a, b) = (runs(&one), runs(&other));
            let shared = a.intersection(&b).count() as f64;
            let truth = shared / (a.len() as f64 + b.len() as f64 - shared);
            let (one, other) = (Sketch::of(&one), Sketch::of(&other));
            let agree = one.0.iter().zip(&other.0).filter(|(a, b)| a == b).count() as f64 / FUNCTIONS as f64;
            assert!((agree - truth).abs() < 0.25, "{from}: {agree} for {truth}");
        }
    }
}
