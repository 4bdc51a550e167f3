//! Pairs as they are made without reversal: of two responses to a turn the one that satisfies more is chosen, under the instruction as
//! it stands. A baseline: the chosen response may violate what it asks for (cases 3 to 5), and pairs of equal scores are lost.

use std::cmp::Reverse;

use obvert_api::record::{Judged, Pair};
use obvert_api::schemars::JsonSchema;
use obvert_api::serde::Deserialize;
use obvert_api::{Error, Group, Nothing, Output, Reply};

use crate::case::{Difference, scores};
use crate::{distinct, one, pair_of};

/// Settings of the stage.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "obvert_api::serde", deny_unknown_fields)]
#[schemars(crate = "obvert_api::schemars")]
pub(crate) struct PairByScore {
    /// Smallest difference that makes a pair.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    min_difference: u32,
    /// What a pair's difference g is.
    #[serde(default)]
    difference: Difference,
    /// Whether a turn makes one pair only, of its best response and its worst: what supervised training learns from.
    #[serde(default)]
    best: bool,
}

impl Group for PairByScore {
    const NAME: &'static str = "pair-by-score";
    type In = Judged;
    type With = Nothing;
    type Out = Pair;
    const WITHIN_ROW: bool = true;

    fn key(&self, judged: &Judged) -> String {
        judged.response.turn.id()
    }

    fn group(
        &self,
        turn: &str,
        responses: Vec<Judged>,
        _: Vec<Nothing>,
        _: &[Reply],
        out: &mut Output<Pair>,
    ) -> Result<(), Error> {
        let distinct = distinct(responses);
        for (g, chosen, rejected) in self.chosen(&distinct) {
            out.emit(Pair { g, ..pair_of(turn, chosen, rejected, &Default::default()) });
        }
        Ok(())
    }
}

/// A difference, and the chosen and the rejected response.
type Scored<'j> = (u32, &'j Judged, &'j Judged);

impl PairByScore {
    /// The pairs that a turn makes.
    fn chosen<'j>(&self, distinct: &'j [Judged]) -> Vec<Scored<'j>> {
        let others = |(at, first): (usize, &'j Judged)| distinct[at + 1..].iter().map(move |second| (first, second));
        let all = distinct.iter().enumerate().flat_map(others);
        let scored = all.filter_map(|(first, second)| {
            let (chosen, rejected) = better(first, second)?;
            Some((self.difference.of(first, second), chosen, rejected))
        });
        let pairs = scored.filter(|(g, ..)| *g >= self.min_difference);
        // Of equals the first sampled; `distinct` is in that order.
        let widest = |(_, chosen, rejected): &Scored| (Reverse(chosen.score()), rejected.score());
        if self.best { pairs.min_by_key(widest).into_iter().collect() } else { pairs.collect() }
    }
}

/// Of two responses the one that satisfies more, then the other; nothing where they satisfy equally many.
pub(crate) fn better<'j>(first: &'j Judged, second: &'j Judged) -> Option<(&'j Judged, &'j Judged)> {
    match scores(&first.adherence(), &second.adherence()) {
        (more, less) if more > less => Some((first, second)),
        (less, more) if more > less => Some((second, first)),
        _ => None,
    }
}
