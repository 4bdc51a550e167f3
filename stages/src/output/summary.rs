//! Counts over pairs.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashSet};
use std::hash::{Hash, Hasher};

use obvert_api::record::{Pair, PairConstraint};
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
    /// Unordered pairs by difference g.
    pub by_g: BTreeMap<u32, u64>,
    /// Unordered pairs whose g is not the number of constraints in which they differ.
    pub other_g: u64,
    /// Directed pairs in which something is reversed.
    pub reversed: u64,
    /// Directed pairs whose chosen response satisfies all of its own prompt, as far as that is decided.
    pub clean: u64,
    /// Directed pairs by case under their own prompt.
    pub after: [u64; 6],
}

impl PairsSummary {
    /// Counts over this set and another one, of other turns.
    pub fn and(mut self, other: &PairsSummary) -> PairsSummary {
        self.pairs += other.pairs;
        self.unordered += other.unordered;
        add(&mut self.by_case, other.by_case);
        other.by_g.iter().for_each(|(g, more)| *self.by_g.entry(*g).or_default() += more);
        self.other_g += other.other_g;
        self.reversed += other.reversed;
        self.clean += other.clean;
        add(&mut self.after, other.after);
        self
    }

    /// Counts what a pair is under its own prompt.
    fn count_direction(&mut self, pair: &Pair) {
        self.pairs += 1;
        self.reversed += u64::from(pair.constraints.iter().any(|constraint| constraint.reversed));
        self.clean += u64::from(pair.clean().is_ok());
        count(&mut self.after, case_in_prompt(pair));
    }
}

fn add(counts: &mut [u64; 6], more: [u64; 6]) {
    counts.iter_mut().zip(more).for_each(|(count, more)| *count += more);
}

fn count(counts: &mut [u64; 6], case: u8) {
    if let Some(count) = usize::from(case).checked_sub(1).and_then(|index| counts.get_mut(index)) {
        *count += 1;
    }
}

/// How many of the constraints that are decided in both responses satisfy under the pair's own prompt: both, the chosen one
/// alone, the rejected one alone, neither.
fn satisfied(pair: &Pair) -> [usize; 4] {
    let both = |c: &PairConstraint| Some((c.chosen? != c.reversed, c.rejected? != c.reversed));
    let verdicts: Vec<(bool, bool)> = pair.constraints.iter().filter_map(both).collect();
    [(true, true), (true, false), (false, true), (false, false)]
        .map(|said| verdicts.iter().filter(|verdict| **verdict == said).count())
}

/// The case under the pair's own prompt; 0 where there the chosen response has nothing over the rejected one.
fn case_in_prompt(pair: &Pair) -> u8 {
    match satisfied(pair) {
        [_, 0, ..] => 0,
        [both, chosen, rejected, _] if chosen == rejected => 1 + u8::from(both > 0),
        [.., 0, neither] => 5 + u8::from(neither == 0),
        [both, ..] => 3 + u8::from(both > 0),
    }
}

/// The number of constraints in which the responses differ. Reversal turns both verdicts around and leaves it as it is.
fn differences(pair: &Pair) -> usize {
    let [_, chosen, rejected, _] = satisfied(pair);
    chosen + rejected
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
        self.summary.count_direction(pair);
        let mut hasher = DefaultHasher::new();
        responses(pair).hash(&mut hasher);
        if !self.seen.insert(hasher.finish()) {
            return;
        }
        self.summary.unordered += 1;
        *self.summary.by_g.entry(pair.g).or_default() += 1;
        self.summary.other_g += u64::from(pair.g as usize != differences(pair));
        count(&mut self.summary.by_case, pair.case);
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
