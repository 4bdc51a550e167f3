//! Pairs as they are made without reversal: of two responses to a turn the one that satisfies more is chosen, under the instruction as
//! it stands. A baseline: the chosen response may violate what it asks for (cases 3 to 5), and pairs of equal scores are lost.

use obvert_api::record::{Judged, Pair};
use obvert_api::schemars::JsonSchema;
use obvert_api::serde::Deserialize;
use obvert_api::{Error, Group, Nothing, Output, Reply};

use crate::case::difference;
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
}

/// What the difference of two responses is.
#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(crate = "obvert_api::serde", rename_all = "lowercase")]
#[schemars(crate = "obvert_api::schemars")]
enum Difference {
    /// Constraints decided in both and differing, as in RPO.
    #[default]
    Hamming,
    /// How many more the chosen one satisfies.
    Score,
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
        for (i, first) in distinct.iter().enumerate() {
            for second in &distinct[i + 1..] {
                let (more, less) = in_both(first, second);
                let (chosen, rejected) = if more >= less { (first, second) } else { (second, first) };
                let g = match self.difference {
                    Difference::Hamming => difference(&first.adherence(), &second.adherence()),
                    Difference::Score => more.abs_diff(less),
                };
                if more != less && g >= self.min_difference {
                    out.emit(Pair { g, ..pair_of(turn, chosen, rejected, &Default::default()) });
                }
            }
        }
        Ok(())
    }
}

/// How many of the constraints that are decided in both each satisfies.
fn in_both(first: &Judged, second: &Judged) -> (u32, u32) {
    let both = first.verdicts.iter().zip(&second.verdicts).filter_map(|(a, b)| a.satisfied.zip(b.satisfied));
    both.fold((0, 0), |(first, second), (a, b)| (first + u32::from(a), second + u32::from(b)))
}
