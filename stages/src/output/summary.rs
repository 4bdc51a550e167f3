//! Counts over pairs.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashSet};
use std::hash::{Hash, Hasher};

use obvert_api::record::Pair;
use serde::Serialize;

/// One of the six cases of the paper's noise analysis, before reversal (arXiv 2505.22172).
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Case {
    /// Whether both responses satisfy equally many constraints.
    pub scores: &'static str,
    /// How the sets of satisfied constraints relate.
    pub relation: &'static str,
    /// What becomes of such a pair when the higher score is preferred and nothing is reversed.
    pub score_based: &'static str,
}

/// Case 1 is `CASES[0]`.
pub const CASES: [Case; 6] = [
    Case { scores: "same", relation: "no satisfied constraint in common", score_based: "discarded" },
    Case { scores: "same", relation: "some in common, neither dominates", score_based: "discarded" },
    Case { scores: "different", relation: "none in common, neither dominates", score_based: "noise: unlearns" },
    Case { scores: "different", relation: "some in common, neither dominates", score_based: "noise: unlearns" },
    Case { scores: "different", relation: "chosen dominates, not perfect", score_based: "noise: excuses" },
    Case { scores: "different", relation: "chosen dominates, perfect", score_based: "clean" },
];

/// Counts over a set of pairs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PairsSummary {
    /// Directed pairs: training examples.
    pub pairs: u64,
    /// Two responses to one turn, whichever is chosen: two examples unless one direction was dropped.
    pub unordered: u64,
    /// Unordered pairs by case before reversal; case 1 is `by_case[0]`.
    pub by_case: [u64; 6],
    /// Unordered pairs by difference g, which reversal leaves as it is.
    pub by_g: BTreeMap<u32, u64>,
}

impl PairsSummary {
    /// Counts over this set and another one, of other turns.
    pub fn and(mut self, other: &PairsSummary) -> PairsSummary {
        self.pairs += other.pairs;
        self.unordered += other.unordered;
        self.by_case.iter_mut().zip(other.by_case).for_each(|(count, more)| *count += more);
        other.by_g.iter().for_each(|(g, more)| *self.by_g.entry(*g).or_default() += more);
        self
    }
}

/// Counts pairs; both directions of one pair count once in `unordered`, `by_case` and `by_g`.
pub fn summary<'a>(pairs: impl IntoIterator<Item = &'a Pair>) -> PairsSummary {
    let mut tally = Tally::default();
    pairs.into_iter().for_each(|pair| tally.add(pair));
    tally.summary
}

/// Counts pairs one by one.
#[derive(Debug, Default)]
pub struct Tally {
    /// The counts so far.
    pub summary: PairsSummary,
    /// Hashes of what two directions share, to hold little of a large set.
    seen: HashSet<u64>,
}

impl Tally {
    /// Counts one more.
    pub fn add(&mut self, pair: &Pair) {
        self.summary.pairs += 1;
        let mut hasher = DefaultHasher::new();
        responses(pair).hash(&mut hasher);
        if !self.seen.insert(hasher.finish()) {
            return;
        }
        self.summary.unordered += 1;
        *self.summary.by_g.entry(pair.g).or_default() += 1;
        if let Some(count) = usize::from(pair.case).checked_sub(1).and_then(|i| self.summary.by_case.get_mut(i)) {
            *count += 1;
        }
    }
}

/// What two directions of a pair share: the turn and the set of the two responses.
fn responses(pair: &Pair) -> (&str, u32, &str, [(&str, u32, &str); 2]) {
    let mut both = [
        (pair.chosen_model.as_str(), pair.chosen_sample, pair.chosen.as_str()),
        (pair.rejected_model.as_str(), pair.rejected_sample, pair.rejected.as_str()),
    ];
    both.sort_unstable();
    (&pair.dialogue, pair.turn, &pair.profile, both)
}
