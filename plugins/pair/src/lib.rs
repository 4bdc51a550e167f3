//! Groups a turn's judged responses into preference pairs: without noise, every pair in both directions; and in other ways, to compare with.

mod back_translate;
mod by_refinement;
mod by_score;
mod case;

use std::collections::{BTreeMap, BTreeSet};

use obvert_api::record::{Constraint, Judged, Pair, PairConstraint, Profile, Reversal, Verdict, draw, id_of};
use obvert_api::schemars::JsonSchema;
use obvert_api::serde::Deserialize;
use obvert_api::{Error, Group, Output, Reply, plugin};

use back_translate::BackTranslate;
use by_refinement::PairByRefinement;
use by_score::{PairByScore, better};
use case::{Difference, case, difference};

/// Settings of the stage.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "obvert_api::serde", deny_unknown_fields)]
#[schemars(crate = "obvert_api::schemars")]
struct PairUp {
    /// Smallest difference g that makes a pair.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    min_difference: u32,
    /// What the difference g of two responses is.
    #[serde(default)]
    difference: Difference,
    /// Share of the pairs of responses that are made as they are without reversal, each drawn by itself: the one that satisfies
    /// more is chosen under the instruction as it stands, in place of both under reversed ones. (`verify` sets aside those whose chosen
    /// response is not perfect.)
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    original: f64,
}

fn one() -> u32 {
    1
}

impl Group for PairUp {
    const NAME: &'static str = "pair";
    type In = Judged;
    type With = Reversal;
    type Out = Pair;
    const WITHIN_ROW: bool = true;

    fn key(&self, judged: &Judged) -> String {
        judged.response.turn.id()
    }

    fn looks_up(&self, judged: &Judged) -> Option<String> {
        Some(judged.response.turn.session.profile.id.clone())
    }

    fn with_key(&self, reversal: &Reversal) -> String {
        reversal.profile.clone()
    }

    fn group(
        &self,
        turn: &str,
        responses: Vec<Judged>,
        reversals: Vec<Reversal>,
        _: &[Reply],
        out: &mut Output<Pair>,
    ) -> Result<(), Error> {
        let reversals = by_id(&reversals);
        let distinct = distinct(responses);
        for (i, first) in distinct.iter().enumerate() {
            for second in &distinct[i + 1..] {
                let g = self.difference.of(first, second);
                if g < self.min_difference {
                    continue;
                }
                // A direction whose reversals are not known (yet) makes no pair.
                let made = match self.stays(turn, first, second) {
                    true => [better(first, second).map(|(c, r)| pair_of(turn, c, r, &BTreeMap::new())), None],
                    false => [directed(turn, first, second, &reversals), directed(turn, second, first, &reversals)],
                };
                made.into_iter().flatten().for_each(|pair| out.emit(Pair { g, ..pair }));
            }
        }
        Ok(())
    }
}

impl PairUp {
    /// Whether two responses are paired under the instruction as it stands.
    fn stays(&self, turn: &str, first: &Judged, second: &Judged) -> bool {
        let samples = [first, second].map(|judged| judged.response.sample.to_string());
        self.original > 0.0 && draw(&["original", turn, &samples[0], &samples[1]]) < self.original
    }
}

/// Reversals by the constraint that they reverse.
fn by_id(reversals: &[Reversal]) -> BTreeMap<&str, &Reversal> {
    reversals.iter().map(|reversal| (reversal.original.id.as_str(), reversal)).collect()
}

/// One response per distinct adherence vector, the first sampled.
fn distinct(mut responses: Vec<Judged>) -> Vec<Judged> {
    responses.sort_by_key(|judged| judged.response.sample);
    let mut seen = std::collections::BTreeSet::new();
    responses.retain(|judged| seen.insert(judged.adherence()));
    responses
}

/// The pair under the instruction that the chosen response satisfies, where its reversals are known.
fn directed(turn: &str, chosen: &Judged, rejected: &Judged, reversals: &BTreeMap<&str, &Reversal>) -> Option<Pair> {
    Some(pair_of(turn, chosen, rejected, &replaced(chosen, reversals)?))
}

/// The pair under the instruction in which these constraints are replaced.
fn pair_of(turn: &str, chosen: &Judged, rejected: &Judged, replaced: &BTreeMap<&str, &Constraint>) -> Pair {
    let session = &chosen.response.turn.session;
    let (c, r) = (chosen.adherence(), rejected.adherence());
    let samples = (chosen.response.sample, rejected.response.sample);
    Pair {
        id: id_of(&[
            turn,
            &samples.0.to_string(),
            &chosen.response.text,
            &samples.1.to_string(),
            &rejected.response.text,
        ]),
        dialogue: session.dialogue.clone(),
        turn: session.turn,
        profile: session.profile.id.clone(),
        prompt: chosen.response.turn.messages(session.profile.system_with(replaced)),
        chosen: chosen.response.text.clone(),
        rejected: rejected.response.text.clone(),
        g: difference(&c, &r),
        case: case(&c, &r),
        constraints: session.profile.constraints.iter().map(|o| shown(o, replaced, chosen, rejected)).collect(),
        chosen_sample: samples.0,
        rejected_sample: samples.1,
        chosen_model: chosen.response.model.clone(),
        rejected_model: rejected.response.model.clone(),
        chosen_finished: chosen.response.finished,
        rejected_finished: rejected.response.finished,
    }
}

/// The reversals of what the chosen response violates, and of what depends on that; `None` if one is missing.
fn replaced<'a>(
    chosen: &Judged,
    reversals: &BTreeMap<&str, &'a Reversal>,
) -> Option<BTreeMap<&'a str, &'a Constraint>> {
    let profile = &chosen.response.turn.session.profile;
    let violated = chosen.verdicts.iter().filter(|v| v.satisfied == Some(false)).map(|v| v.constraint.as_str());
    let reversed = together(profile, violated).into_iter().map(|id| {
        let reversal = reversals.get(id)?;
        let current = profile.constraint(id)? == &reversal.original;
        current.then_some((reversal.original.id.as_str(), &reversal.reversed))
    });
    reversed.collect()
}

/// The constraints with all that depend on them, or that they depend on, however indirectly.
fn together<'p>(profile: &'p Profile, ids: impl Iterator<Item = &'p str>) -> BTreeSet<&'p str> {
    let mut all: BTreeSet<&str> = ids.collect();
    loop {
        let touches =
            |c: &&Constraint| all.contains(c.id.as_str()) || c.depends.iter().any(|id| all.contains(id.as_str()));
        let tied = profile.constraints.iter().filter(|c| !c.depends.is_empty()).filter(touches);
        let more: Vec<&str> = tied.flat_map(|c| c.depends.iter().chain([&c.id])).map(String::as_str).collect();
        let before = all.len();
        all.extend(more);
        if all.len() == before {
            return all;
        }
    }
}

fn shown(
    original: &Constraint,
    replaced: &BTreeMap<&str, &Constraint>,
    chosen: &Judged,
    rejected: &Judged,
) -> PairConstraint {
    let shown = replaced.get(original.id.as_str()).copied().unwrap_or(original);
    let of = |judged: &Judged| judged.verdicts.iter().find(|v| v.constraint == original.id).cloned();
    let (chosen_verdict, rejected_verdict) = (of(chosen), of(rejected));
    PairConstraint {
        id: original.id.clone(),
        text: shown.line(),
        original: original.line(),
        reversed: replaced.contains_key(original.id.as_str()),
        check: shown.check.clone(),
        active: chosen.response.turn.active.contains(&original.id),
        chosen: chosen_verdict.as_ref().and_then(|verdict| verdict.satisfied),
        rejected: rejected_verdict.and_then(|verdict| verdict.satisfied),
        corrected: chosen_verdict.is_some_and(|verdict| verdict.by == Verdict::CORRECTION),
    }
}

plugin!("obvert_plugin_v1_obvert_pair": PairUp, PairByScore, PairByRefinement, BackTranslate);

#[cfg(test)]
mod tests;
