//! How similar two short texts are, without a model.

use std::collections::BTreeSet;

/// Share of the runs of three letters or digits that both texts hold, of those that either does (their Jaccard similarity): 0 for
/// nothing in common, 1 for the same but for case, spaces and punctuation.
pub(crate) fn similarity(one: &str, other: &str) -> f64 {
    let (one, other) = (grams(one), grams(other));
    let shared = one.intersection(&other).count();
    let all = one.len() + other.len() - shared;
    if all == 0 { 1.0 } else { shared as f64 / all as f64 }
}

fn grams(text: &str) -> BTreeSet<[char; 3]> {
    let letters = text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase);
    let padded: Vec<char> = [' '].into_iter().chain(letters).chain([' ']).collect();
    padded.windows(3).filter_map(|gram| gram.try_into().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::similarity;

    #[test]
    fn what_is_said_in_other_words_is_not_similar() {
        assert_eq!(similarity("And what about rye bread?", "and what about: rye bread!"), 1.0);
        assert!(similarity("What about rye bread?", "What about the rye bread?") > 0.6);
        assert!(similarity("What about rye bread?", "Do you deliver on Sundays?") < 0.1);
        assert!(similarity("我想买一本书", "我想买一本新书") > 0.4);
        assert_eq!(similarity("?", "!"), 1.0);
    }
}
