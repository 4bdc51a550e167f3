//! Brings pairs together that mirror each other, for a loss that takes them two by two.

use std::collections::HashMap;
use std::sync::Arc;

use obvert_api::record::{Pair, id_of};

/// Pairs that are trained on together: one alone, or two that mirror each other.
pub(super) type Unit = Vec<Arc<Pair>>;

/// Pairs whose mirror has not come yet.
#[derive(Default)]
pub(super) struct Mirrors {
    waiting: HashMap<String, Arc<Pair>>,
}

impl Mirrors {
    /// Takes a pair in; with its mirror, the two come out, the earlier one first.
    pub(super) fn push(&mut self, pair: Arc<Pair>) -> Option<Unit> {
        match self.waiting.remove(&answers(&pair, &pair.rejected, &pair.chosen)) {
            Some(mirror) => Some(vec![mirror, pair]),
            None => {
                self.waiting.insert(answers(&pair, &pair.chosen, &pair.rejected), pair);
                None
            }
        }
    }

    /// The pairs whose mirror did not come.
    pub(super) fn rest(&mut self) -> Vec<Arc<Pair>> {
        let mut rest: Vec<_> = self.waiting.drain().map(|(_, pair)| pair).collect();
        rest.sort_by(|a, b| a.id.cmp(&b.id));
        rest
    }

    /// Drops a pair that was withdrawn.
    pub(super) fn forget(&mut self, id: &str) {
        self.waiting.retain(|_, pair| pair.id != id);
    }
}

/// The turn and two answers to it in an order.
fn answers(pair: &Pair, first: &str, second: &str) -> String {
    id_of(&[&pair.dialogue, &pair.turn.to_string(), first, second])
}

#[cfg(test)]
mod tests {
    use super::super::tests::pair;
    use super::*;

    #[test]
    fn pairs_leave_with_their_mirror() {
        let said = |id: &str, dialogue: &str, chosen: &str, rejected: &str| {
            let (chosen, rejected) = (chosen.to_owned(), rejected.to_owned());
            Arc::new(Pair { chosen, rejected, ..pair(id, dialogue) })
        };
        let mut mirrors = Mirrors::default();
        let pairs = [
            said("1", "a", "x", "y"),
            said("2", "b", "y", "x"),
            said("3", "a", "y", "z"),
            said("4", "a", "y", "x"),
            said("5", "a", "z", "y"),
        ];
        let units: Vec<Unit> = pairs.into_iter().filter_map(|pair| mirrors.push(pair)).collect();
        let ids: Vec<Vec<&str>> = units.iter().map(|unit| unit.iter().map(|pair| pair.id.as_str()).collect()).collect();
        assert_eq!(ids, [["1", "4"], ["3", "5"]]);
        assert_eq!(mirrors.rest().iter().map(|pair| pair.id.as_str()).collect::<Vec<_>>(), ["2"]);
    }
}
