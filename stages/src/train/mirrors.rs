//! Brings pairs together that mirror each other, for a loss that takes them two by two.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use obvert_api::record::{Pair, id_of};

/// Pairs that are trained on together: one alone, or two that mirror each other.
pub(super) type Unit = Vec<Arc<Pair>>;

/// Pairs whose mirror has not come yet: several where the same answers to a turn were paired more than once.
#[derive(Clone, Default)]
pub(super) struct Mirrors {
    waiting: HashMap<String, VecDeque<Arc<Pair>>>,
}

impl Mirrors {
    /// Takes a pair in; with its mirror, the first that waits, the two come out, the earlier one first.
    pub(super) fn push(&mut self, pair: Arc<Pair>) -> Option<Unit> {
        match self.take(&answers(&pair, &pair.rejected, &pair.chosen)) {
            Some(mirror) => Some(vec![mirror, pair]),
            None => {
                self.waiting.entry(answers(&pair, &pair.chosen, &pair.rejected)).or_default().push_back(pair);
                None
            }
        }
    }

    fn take(&mut self, answers: &str) -> Option<Arc<Pair>> {
        let mut queue = self.waiting.remove(answers)?;
        let pair = queue.pop_front();
        if !queue.is_empty() {
            self.waiting.insert(answers.to_owned(), queue);
        }
        pair
    }

    /// The pairs whose mirror did not come.
    pub(super) fn rest(&mut self) -> Vec<Arc<Pair>> {
        let mut rest: Vec<_> = self.waiting.drain().flat_map(|(_, queue)| queue).collect();
        rest.sort_by(|a, b| a.id.cmp(&b.id));
        rest
    }

    /// Drops a pair that was withdrawn.
    pub(super) fn forget(&mut self, id: &str) {
        self.waiting.retain(|_, queue| {
            queue.retain(|pair| pair.id != id);
            !queue.is_empty()
        });
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

    fn ids(pairs: &[Arc<Pair>]) -> Vec<&str> {
        pairs.iter().map(|pair| pair.id.as_str()).collect()
    }

    /// Takes in pairs of (id, dialogue, chosen, rejected) and gives out the ids of those that left together.
    fn push(mirrors: &mut Mirrors, pairs: &[[&str; 4]]) -> Vec<String> {
        let said = |[id, dialogue, chosen, rejected]: &[&str; 4]| {
            let (chosen, rejected) = ((*chosen).to_owned(), (*rejected).to_owned());
            Arc::new(Pair { chosen, rejected, ..pair(id, dialogue) })
        };
        pairs.iter().filter_map(|pair| mirrors.push(said(pair))).map(|unit| ids(&unit).concat()).collect()
    }

    #[test]
    fn pairs_leave_with_their_mirror() {
        let mut mirrors = Mirrors::default();
        let pairs = [
            ["1", "a", "x", "y"],
            ["2", "b", "y", "x"],
            ["3", "a", "y", "z"],
            ["4", "a", "y", "x"],
            ["5", "a", "z", "y"],
        ];
        assert_eq!(push(&mut mirrors, &pairs), ["14", "35"]);
        assert_eq!(ids(&mirrors.rest()), ["2"]);
    }

    #[test]
    fn equal_pairs_wait_beside_each_other() {
        let mut mirrors = Mirrors::default();
        let equal = ["1", "2", "3", "4"].map(|id| [id, "a", "x", "y"]);
        assert_eq!(push(&mut mirrors, &equal), [""; 0]);
        mirrors.forget("2");
        assert_eq!(push(&mut mirrors, &["5", "6"].map(|id| [id, "a", "y", "x"])), ["15", "36"]);
        assert_eq!(ids(&mirrors.rest()), ["4"]);
    }
}
