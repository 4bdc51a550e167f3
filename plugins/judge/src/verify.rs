//! Judges a pair's chosen response again, under the reversed instruction: only perfect ones pass. Verdicts that were put right
//! from outside stand.

use obvert_api::record::Pair;
use obvert_api::schemars::JsonSchema;
use obvert_api::serde::Deserialize;
use obvert_api::{Error, Map, ModelName, Output, Reply};

use crate::ask::{Question, Step};
use crate::check::Checks;

/// Settings of the stage.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "obvert_api::serde", deny_unknown_fields)]
#[schemars(crate = "obvert_api::schemars")]
pub(crate) struct Verify {
    /// The judge model; not needed where a program can decide every constraint.
    model: Option<ModelName>,
    /// How often a malformed reply is sent back with its error before the pair is set aside.
    #[serde(default = "obvert_api::form::repairs")]
    repairs: usize,
    #[serde(skip)]
    checks: Checks,
}

impl Map for Verify {
    const NAME: &'static str = "verify";
    type In = Pair;
    type Out = Pair;

    fn map(&self, pair: Pair, replies: &[Reply], out: &mut Output<Pair>) -> Result<(), Error> {
        let decided = pair.constraints.iter().filter(|c| c.active && c.chosen.is_some() && !c.corrected);
        let demands = decided.map(|c| (c.id.as_str(), c.text.as_str(), c.check.as_ref())).collect();
        let query = pair.prompt.last().map_or("", |message| message.content.as_str());
        let question = Question { query, response: &pair.chosen, demands };
        match question.decide(self.model.as_ref(), self.repairs, &self.checks, replies)? {
            Step::Ask(request) => out.request(request),
            Step::Decided(verdicts) => match verdicts.iter().find(|v| v.satisfied == Some(false)) {
                Some(verdict) => {
                    return Err(Error(format!("the chosen response violates `{}` of x_S", verdict.constraint)));
                }
                None => out.emit(pair),
            },
        }
        Ok(())
    }
}
