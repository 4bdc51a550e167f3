//! Judges responses against their active constraints, pairs against their reversed instruction, and has poor responses revised.
//!
//! What a program can decide a program decides; the rest goes to a judge model in one call per response, or in several whose
//! majority counts.

mod ask;
mod check;
mod critique;
mod verify;

use obvert_api::form::{Stop, Talk, answered};
use obvert_api::prompt::Language;
use obvert_api::record::{Judged, Response, Turn};
use obvert_api::schemars::JsonSchema;
use obvert_api::serde::Deserialize;
use obvert_api::{Error, Map, ModelName, Output, Reply, plugin};

use ask::{Demand, Question};
use check::Checks;
use critique::Critique;
use verify::Verify;

/// Settings of the stage.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "obvert_api::serde", deny_unknown_fields)]
#[schemars(crate = "obvert_api::schemars")]
struct Judge {
    /// The judge model; not needed where a program can decide every constraint.
    model: Option<ModelName>,
    /// How often the judge is asked: 1, 3 or 5. What more than half of the replies say of a constraint counts; where none does, the
    /// constraint is taken not to apply.
    #[serde(default = "one")]
    votes: u32,
    /// How freely the judge speaks: 0 with one vote, else 0.7, unless it is set.
    temperature: Option<f32>,
    /// How often a malformed reply is sent back with its error before what is judged is set aside.
    #[serde(default = "obvert_api::form::repairs")]
    repairs: usize,
    /// The language of the question; that of the constraints, unless it is set.
    language: Option<Language>,
    #[serde(skip)]
    checks: Checks,
}

fn one() -> u32 {
    1
}

impl Default for Judge {
    /// A judge that is a program.
    fn default() -> Self {
        let (votes, repairs) = (one(), obvert_api::form::repairs());
        Judge { model: None, votes, temperature: None, repairs, language: None, checks: Checks::default() }
    }
}

impl Judge {
    /// Several votes must be able to differ.
    fn temperature(&self) -> f32 {
        self.temperature.unwrap_or(if self.votes > 1 { 0.7 } else { 0.0 })
    }

    fn check(&self) -> Result<(), Error> {
        match self.votes {
            1 | 3 | 5 => Ok(()),
            votes => Err(Error(format!("`votes` must be 1, 3 or 5, so that most of them can agree; it is {votes}"))),
        }
    }

    /// A response with its verdicts.
    fn judge(&self, response: Response, talk: &mut Talk) -> Result<Judged, Stop> {
        let demands = demands(&response.turn)?;
        let question = Question { query: &response.turn.query, response: &response.text, demands };
        let verdicts = question.decide(self, talk)?;
        Ok(Judged { response, verdicts })
    }
}

/// What a turn's responses must satisfy.
fn demands(turn: &Turn) -> Result<Vec<Demand<'_>>, Error> {
    let profile = &turn.session.profile;
    let demand = |id: &String| {
        let constraint = profile.constraint(id).map(Demand::from);
        constraint.ok_or_else(|| Error(format!("active constraint `{id}` is not in the profile")))
    };
    turn.active.iter().map(demand).collect()
}

impl Map for Judge {
    const NAME: &'static str = "judge";
    type In = Response;
    type Out = Judged;

    fn validate(&self) -> Result<(), Error> {
        self.check()
    }

    fn map(&self, response: Response, replies: &[Reply], out: &mut Output<Judged>) -> Result<(), Error> {
        if let Some(judged) = answered(self.judge(response, &mut out.talk(replies)))? {
            out.emit(judged);
        }
        Ok(())
    }
}

plugin!("obvert_plugin_v1_obvert_judge": Judge, Verify, Critique);

#[cfg(test)]
mod tests;
