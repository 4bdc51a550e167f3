//! `correct`: puts verdicts from outside in the place of the judge's.
//!
//! It stands between `judge` and `pair`; `next` stays at the judge, so that a correction changes the pairs of its turn and
//! no dialogue. `verify` does not judge again what was corrected.

use std::collections::BTreeMap;

use obvert_api::record::{Correction, Judged, Verdict};
use obvert_api::{Error, Group, Output, Reply};
use schemars::JsonSchema;
use serde::Deserialize;

/// `correct` has no settings.
///
/// A response is set aside, with the reason, where what is said of it cannot be done: two corrections contradict each other, or
/// one decides a constraint that the response has no verdict on (its turn does not trigger it, or there is none of this
/// name). Somebody found fault with the response, so it makes no pairs until that is settled. A correction of a response that
/// is not there, or of a text that has changed, says nothing.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Correct {}

impl Group for Correct {
    const NAME: &'static str = "correct";
    type In = Judged;
    type With = Correction;
    type Out = Judged;
    const WITHIN_ROW: bool = true;

    fn key(&self, judged: &Judged) -> String {
        format!("{}.{}", judged.response.turn.id(), judged.response.sample)
    }

    fn looks_up(&self, judged: &Judged) -> Option<String> {
        Some(judged.response.place())
    }

    fn with_key(&self, correction: &Correction) -> String {
        correction.place()
    }

    fn group(
        &self,
        _: &str,
        responses: Vec<Judged>,
        corrections: Vec<Correction>,
        _: &[Reply],
        out: &mut Output<Judged>,
    ) -> Result<(), Error> {
        for mut judged in responses {
            let said = corrections.iter().filter(|correction| correction.is_of(&judged.response));
            for correction in agreed(said)?.into_values() {
                overrule(&mut judged.verdicts, correction)?;
            }
            out.emit(judged);
        }
        Ok(())
    }
}

/// One correction for each constraint.
fn agreed<'a>(said: impl Iterator<Item = &'a Correction>) -> Result<BTreeMap<&'a str, &'a Correction>, Error> {
    let mut agreed = BTreeMap::new();
    for correction in said {
        let before = agreed.insert(correction.constraint.as_str(), correction);
        if before.is_some_and(|before| before.satisfied != correction.satisfied) {
            return Err(Error(format!("corrections of `{}` contradict each other", correction.constraint)));
        }
    }
    Ok(agreed)
}

fn overrule(verdicts: &mut [Verdict], correction: &Correction) -> Result<(), Error> {
    let Correction { constraint, satisfied, reason, .. } = correction;
    match verdicts.iter_mut().find(|verdict| verdict.constraint == *constraint) {
        Some(verdict) => {
            (verdict.satisfied, verdict.reason, verdict.by) = (*satisfied, reason.clone(), Verdict::CORRECTION.into());
            Ok(())
        }
        // That it cannot apply is what no verdict means.
        None if satisfied.is_none() => Ok(()),
        None => Err(Error(format!("a correction decides `{constraint}`, which is not active in this turn"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A response to turn 1 of dialogue d, judged on tea (no) and milk (yes).
    fn judged() -> Judged {
        let verdict = |id: &str, satisfied: bool| json!({ "constraint": id, "satisfied": satisfied, "by": "judge" });
        let session = json!({
            "dialogue": "d", "profile": { "id": "p", "description": "" }, "persona": { "id": "u" }, "turn": 1,
        });
        let turn = json!({ "session": session, "query": "?", "active": ["tea", "milk"] });
        let response = json!({ "turn": turn, "sample": 2, "text": "Milk.", "model": "m" });
        let judged = json!({ "response": response, "verdicts": [verdict("tea", false), verdict("milk", true)] });
        serde_json::from_value(judged).unwrap()
    }

    /// The verdicts under corrections of this response, or why there are none.
    fn corrected(corrections: &[Value]) -> Result<Vec<(Option<bool>, String)>, String> {
        let read = |more: &Value| {
            let mut row = json!({ "dialogue": "d", "turn": 1, "sample": 2, "satisfied": null });
            row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value::<Correction>(row).unwrap()
        };
        let (stage, mut out) = (Correct {}, Output::default());
        let corrections: Vec<Correction> = corrections.iter().map(read).collect();
        stage.group("", vec![judged()], corrections, &[], &mut out).map_err(|e| e.0)?;
        let verdicts = out.emitted()[0].verdicts.clone();
        Ok(verdicts.into_iter().map(|v| (v.satisfied, format!("{} {}", v.by, v.reason))).collect())
    }

    #[test]
    fn what_is_said_takes_the_place_of_what_the_judge_said() {
        let (no, yes) = ((Some(false), "judge ".to_owned()), (Some(true), "judge ".to_owned()));
        let said = |satisfied, reason: &str| (satisfied, format!("correction {reason}"));
        let tea = json!({ "constraint": "tea", "satisfied": true, "reason": "hinted at" });
        let cases = [
            (vec![], [no.clone(), yes.clone()]),
            (vec![tea.clone(), tea.clone()], [said(Some(true), "hinted at"), yes.clone()]),
            (vec![tea, json!({ "constraint": "milk" })], [said(Some(true), "hinted at"), said(None, "")]),
            (vec![json!({ "constraint": "tea", "response": "Milk." })], [said(None, ""), yes.clone()]),
            // Of another text, another sample, or no verdict where there is none.
            (vec![json!({ "constraint": "tea", "response": "Tea." })], [no.clone(), yes.clone()]),
            (vec![json!({ "constraint": "tea", "sample": 0 })], [no.clone(), yes.clone()]),
            (vec![json!({ "constraint": "sugar" })], [no, yes]),
        ];
        for (corrections, expected) in cases {
            assert_eq!(corrected(&corrections).unwrap(), expected, "{corrections:?}");
        }
    }

    #[test]
    fn what_cannot_be_done_sets_the_response_aside() {
        let unknown = corrected(&[json!({ "constraint": "sugar", "satisfied": true })]).unwrap_err();
        assert!(unknown.contains("`sugar`, which is not active"), "{unknown}");
        let tea = |satisfied: bool| json!({ "constraint": "tea", "satisfied": satisfied });
        let both = corrected(&[tea(true), tea(false)]).unwrap_err();
        assert!(both.contains("`tea` contradict"), "{both}");
    }
}
