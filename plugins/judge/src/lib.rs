//! Judges responses against their active constraints, and pairs against their reversed instruction.
//!
//! What a program can decide a program decides; the rest goes to a judge model in one call per response.

mod ask;
mod check;
mod verify;

use obvert_api::record::{Judged, Response};
use obvert_api::schemars::JsonSchema;
use obvert_api::serde::Deserialize;
use obvert_api::{Error, Map, ModelName, Output, Reply, plugin};

use ask::{Question, Step};
use check::Checks;
use verify::Verify;

/// Settings of the stage.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "obvert_api::serde", deny_unknown_fields)]
#[schemars(crate = "obvert_api::schemars")]
struct Judge {
    /// The judge model; not needed where a program can decide every constraint.
    model: Option<ModelName>,
    /// How often a malformed reply is sent back with its error before the response is set aside.
    #[serde(default = "obvert_api::form::repairs")]
    repairs: usize,
    #[serde(skip)]
    checks: Checks,
}

impl Map for Judge {
    const NAME: &'static str = "judge";
    type In = Response;
    type Out = Judged;

    fn map(&self, response: Response, replies: &[Reply], out: &mut Output<Judged>) -> Result<(), Error> {
        let turn = &response.turn;
        let demands = turn
            .active
            .iter()
            .map(|id| {
                let constraint = turn.session.profile.constraint(id);
                let constraint =
                    constraint.ok_or_else(|| Error(format!("active constraint `{id}` is not in the profile")))?;
                Ok((id.as_str(), constraint.text.as_str(), constraint.check.as_ref()))
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let question = Question { query: &turn.query, response: &response.text, demands };
        match question.decide(self.model.as_ref(), self.repairs, &self.checks, replies)? {
            Step::Ask(request) => out.request(request),
            Step::Decided(verdicts) => out.emit(Judged { response, verdicts }),
        }
        Ok(())
    }
}

plugin!(Judge, Verify);
