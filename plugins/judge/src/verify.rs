//! Judges a pair's chosen response again, under the reversed instruction: only perfect ones pass. Verdicts that were put right
//! from outside stand.

use obvert_api::form::answered;
use obvert_api::record::Pair;
use obvert_api::schemars::JsonSchema;
use obvert_api::serde::Deserialize;
use obvert_api::{Error, Map, Output, Reply};

use crate::Judge;
use crate::ask::{Demand, Question};

/// Settings of the stage: those of the judge that looks again.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "obvert_api::serde", transparent)]
#[schemars(crate = "obvert_api::schemars")]
pub(crate) struct Verify(Judge);

impl Map for Verify {
    const NAME: &'static str = "verify";
    type In = Pair;
    type Out = Pair;

    fn validate(&self) -> Result<(), Error> {
        self.0.check()
    }

    fn map(&self, pair: Pair, replies: &[Reply], out: &mut Output<Pair>) -> Result<(), Error> {
        pair.clean()?;
        let decided = pair.constraints.iter().filter(|c| c.active && c.chosen.is_some() && !c.corrected);
        let query = pair.prompt.last().map_or("", |message| message.content.as_str());
        let question = Question { query, response: &pair.chosen, demands: decided.map(Demand::from).collect() };
        let verdicts = answered(question.decide(&self.0, &mut out.talk(replies)))?;
        let Some(verdicts) = verdicts else { return Ok(()) };
        if let Some(verdict) = verdicts.iter().find(|verdict| verdict.satisfied != Some(true)) {
            let cause = if verdict.satisfied.is_some() { "violates" } else { "is not seen to satisfy" };
            return Err(Error(format!("the chosen response {cause} `{}` of x_S", verdict.constraint)));
        }
        out.emit(pair);
        Ok(())
    }
}
