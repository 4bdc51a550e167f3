//! Pairs of a response that fails and of the perfect one that is most like it, under the instruction as it stands: what SPaR
//! (arXiv 2412.11605) makes of refinements by tree search. Beside a turn's samples the revisions of `critique` may come in, which
//! are edits of them.

use obvert_api::record::{Judged, Pair};
use obvert_api::schemars::JsonSchema;
use obvert_api::serde::Deserialize;
use obvert_api::{Error, Group, Nothing, Output, Reply};

use crate::{distinct, pair_of};

/// The stage has no settings.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "obvert_api::serde", deny_unknown_fields)]
#[schemars(crate = "obvert_api::schemars")]
pub(crate) struct PairByRefinement {}

impl Group for PairByRefinement {
    const NAME: &'static str = "pair-by-refinement";
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
        mut responses: Vec<Judged>,
        _: Vec<Nothing>,
        _: &[Reply],
        out: &mut Output<Pair>,
    ) -> Result<(), Error> {
        responses.sort_by_key(|judged| judged.response.sample);
        let (perfect, failing): (Vec<Judged>, Vec<Judged>) = responses.into_iter().partition(is_perfect);
        for rejected in distinct(failing) {
            let from = |judged: &&Judged| distance(&judged.response.text, &rejected.response.text);
            if let Some(chosen) = perfect.iter().min_by_key(from) {
                out.emit(pair_of(turn, chosen, &rejected, &Default::default()));
            }
        }
        Ok(())
    }
}

fn is_perfect(judged: &Judged) -> bool {
    judged.verdicts.iter().all(|verdict| verdict.satisfied != Some(false))
}

/// Words to put in, take out or exchange to make one text of another (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<&str> = other.split_whitespace().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for word in one.split_whitespace() {
        let mut corner = row[0];
        row[0] += 1;
        for (at, theirs) in other.iter().enumerate() {
            let exchanged = corner + usize::from(word != *theirs);
            corner = row[at + 1];
            row[at + 1] = exchanged.min(corner + 1).min(row[at] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn a_distance_is_of_words() {
        assert_eq!(distance("tea and bread", "tea and bread"), 0);
        assert_eq!(distance("tea and warm bread", "tea with bread"), 2);
        assert_eq!((distance("", "tea and"), distance("tea and", "")), (2, 2));
    }
}
