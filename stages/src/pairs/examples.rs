//! The pairs that are shown: of each case the one that is most worth it.
//!
//! They depend on the set alone, not on the order in which it came or on how it is split into files.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use obvert_api::record::Pair;

/// By case.
#[derive(Default)]
pub(super) struct Examples(BTreeMap<u8, Pair>);

impl Examples {
    /// Takes the pair if it is worth more than the one of its case.
    pub(super) fn offer(&mut self, pair: &Pair) {
        if self.0.get(&pair.case).is_none_or(|held| worth(held) < worth(pair)) {
            self.0.insert(pair.case, pair.clone());
        }
    }

    pub(super) fn pairs(&self) -> impl Iterator<Item = &Pair> {
        self.0.values()
    }

    /// In front the one that is worth most, the others by case.
    pub(super) fn best_first(mut self) -> Vec<Pair> {
        let best = self.0.values().max_by(|a, b| worth(a).cmp(&worth(b))).map(|pair| pair.case);
        let best = best.and_then(|case| self.0.remove(&case));
        best.into_iter().chain(self.0.into_values()).collect()
    }
}

/// What makes a pair worth showing: it was no clean one before, the responses differ in much, and it is short. The id settles the rest.
fn worth(pair: &Pair) -> impl Ord {
    (pair.case != 6, pair.g.min(4), Reverse(pair.turn), Reverse(pair.id.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::tests::pair;

    fn best_first(pairs: &[Pair]) -> Vec<(String, u8)> {
        let mut examples = Examples::default();
        pairs.iter().for_each(|pair| examples.offer(pair));
        examples.best_first().into_iter().map(|pair| (pair.id, pair.case)).collect()
    }

    #[test]
    fn each_case_has_one_whatever_the_order() {
        let of = |id: &str, case, g, turn| Pair { case, g, turn, ..pair(id, "d") };
        let mut pairs = [
            of("a", 6, 9, 0),
            of("b", 6, 9, 0),
            of("c", 2, 2, 0),
            of("d", 2, 3, 1),
            of("e", 2, 3, 0),
            of("f", 1, 2, 0),
            of("g", 5, 4, 0),
        ];
        let expected = [("g", 5), ("f", 1), ("e", 2), ("a", 6)].map(|(id, case)| (id.to_owned(), case));
        assert_eq!(best_first(&pairs), expected);
        pairs.reverse();
        assert_eq!(best_first(&pairs), expected);
        assert_eq!(best_first(&[]), []);
    }
}
