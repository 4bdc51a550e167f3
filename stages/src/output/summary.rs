//! Counts over pairs.

use std::collections::{BTreeMap, BTreeSet};

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

/// Counts pairs; both directions of one pair count once in `unordered`, `by_case` and `by_g`.
pub fn summary(pairs: &[Pair]) -> PairsSummary {
    let mut summary = PairsSummary { pairs: pairs.len() as u64, ..PairsSummary::default() };
    let mut seen = BTreeSet::new();
    for pair in pairs.iter().filter(|pair| seen.insert(responses(pair))) {
        summary.unordered += 1;
        *summary.by_g.entry(pair.g).or_default() += 1;
        if let Some(count) = usize::from(pair.case).checked_sub(1).and_then(|i| summary.by_case.get_mut(i)) {
            *count += 1;
        }
    }
    summary
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
