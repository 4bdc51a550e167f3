//! Examples from constraints that a response meets already: CRAB (arXiv 2410.24175) writes constraints for the responses there are
//! instead of responses for constraints. Here those constraints are known: of each the original or the reversal. Only a loss that
//! learns from the chosen response alone (`sft`) makes sense of them: they have no rejected one.

use std::collections::BTreeMap;

use obvert_api::record::{Judged, Message, Pair, Reversal, id_of};
use obvert_api::schemars::JsonSchema;
use obvert_api::serde::Deserialize;
use obvert_api::{Error, Group, Output, Reply};

use crate::{by_id, distinct, pair_of, replaced};

/// Settings of the stage.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "obvert_api::serde", deny_unknown_fields)]
#[schemars(crate = "obvert_api::schemars")]
pub(crate) struct BackTranslate {
    /// Whether a second example asks for the constraints of the response.
    #[serde(default = "yes")]
    inverse: bool,
}

fn yes() -> bool {
    true
}

impl Group for BackTranslate {
    const NAME: &'static str = "back-translate";
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
        for judged in distinct(responses) {
            let Some(forward) = forward(turn, &judged, &reversals) else { continue };
            if self.inverse && forward.whole().is_ok() {
                out.emit(inverse(&forward));
            }
            out.emit(forward);
        }
        Ok(())
    }
}

/// The response under the instruction that it satisfies.
fn forward(turn: &str, judged: &Judged, reversals: &BTreeMap<&str, &Reversal>) -> Option<Pair> {
    let pair = pair_of(turn, judged, judged, &replaced(judged, reversals)?);
    Some(Pair { rejected: String::new(), ..pair })
}

/// The constraints of a response as the answer to a question for them.
fn inverse(forward: &Pair) -> Pair {
    let question = format!("Which rules does this answer follow?\n\n{}", forward.chosen);
    let active = forward.constraints.iter().filter(|constraint| constraint.active && constraint.chosen.is_some());
    let rules: Vec<String> = active.map(|constraint| format!("- {}", constraint.text)).collect();
    Pair {
        id: id_of(&["rules of", &forward.id]),
        prompt: vec![Message::new("user", question)],
        chosen: rules.join("\n"),
        chosen_finished: true,
        // None of them stands in this prompt.
        constraints: Vec::new(),
        ..forward.clone()
    }
}
