//! Has the best response of a turn revised while it satisfies too little: the revisions join the responses.
//!
//! For the history it makes an answer that is worth going on from, for candidates it makes vectors that differ.

use obvert_api::form::{Stop, Talk, answered};
use obvert_api::prompt::{Language, fenced};
use obvert_api::record::{Judged, Message, Response, Verdict};
use obvert_api::schemars::JsonSchema;
use obvert_api::serde::Deserialize;
use obvert_api::{Error, Group, ModelName, Nothing, Output, Reply, Request, Sampling};

use crate::Judge;
use crate::ask::Demand;
use crate::demands;

/// Settings of the stage.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "obvert_api::serde", deny_unknown_fields)]
#[schemars(crate = "obvert_api::schemars")]
pub(crate) struct Critique {
    /// The model that revises.
    model: ModelName,
    /// Who judges the revisions: settings as those of the stage `judge`.
    #[serde(default)]
    judge: Judge,
    /// Share of the active constraints decided that is enough: with a response that satisfies it nothing is revised.
    #[serde(default = "enough")]
    #[schemars(range(min = 0.0, max = 1.0))]
    min_satisfied: f64,
    /// Revisions at most, each of the best response so far.
    #[serde(default = "three")]
    revisions: u32,
    /// How freely it revises.
    #[serde(default = "temperature")]
    temperature: f32,
    /// Longest revision, in tokens.
    #[serde(default = "max_tokens")]
    #[schemars(range(min = 1))]
    max_tokens: u32,
}

fn enough() -> f64 {
    0.7
}

fn three() -> u32 {
    3
}

fn temperature() -> f32 {
    0.7
}

fn max_tokens() -> u32 {
    1024
}

impl Group for Critique {
    const NAME: &'static str = "critique";
    type In = Judged;
    type With = Nothing;
    type Out = Judged;
    const WITHIN_ROW: bool = true;

    fn validate(&self) -> Result<(), Error> {
        self.judge.check()
    }

    fn key(&self, judged: &Judged) -> String {
        judged.response.turn.id()
    }

    fn group(
        &self,
        _: &str,
        mut pool: Vec<Judged>,
        _: Vec<Nothing>,
        replies: &[Reply],
        out: &mut Output<Judged>,
    ) -> Result<(), Error> {
        if answered(self.revise(&mut pool, &mut out.talk(replies)))?.is_some() {
            pool.into_iter().for_each(|judged| out.emit(judged));
        }
        Ok(())
    }
}

impl Critique {
    /// Adds revisions of the best, as long as that is poor. One that is nothing, is cut off, or cannot be judged is none, and the last.
    fn revise(&self, pool: &mut Vec<Judged>, talk: &mut Talk) -> Result<(), Stop> {
        for nth in 0..self.revisions {
            let Some(poor) = Judged::best(pool).filter(|best| best.share() < self.min_satisfied) else { break };
            let reply = talk.say(self.request(poor, nth)?)?;
            if reply.text.trim().is_empty() || !reply.finished {
                break;
            }
            let sample = pool.iter().map(|judged| judged.response.sample + 1).max().unwrap_or_default();
            match self.judge.judge(self.revised(poor, sample, reply), talk) {
                Err(Stop::Failed(_)) => break,
                judged => pool.push(judged?),
            }
        }
        Ok(())
    }

    /// The question for a revision. If the one before did not help this is another sample of the same.
    fn request(&self, poor: &Judged, nth: u32) -> Result<Request, Error> {
        let turn = &poor.response.turn;
        let demands = demands(turn)?;
        let of = |satisfied| demands.iter().zip(&poor.verdicts).filter(move |(_, v)| v.satisfied == Some(satisfied));
        let (missing, kept): (String, String) = (of(false).map(missing).collect(), of(true).map(kept).collect());
        let templates = [include_str!("../prompts/critique.en.txt"), include_str!("../prompts/critique.zh.txt")];
        let (query, response) = (fenced(&turn.query), fenced(&poor.response.text));
        let places = [("query", query.as_str()), ("response", &response), ("demands", &missing), ("kept", &kept)];
        let text = self.judge.language.unwrap_or_else(|| Language::of(&missing)).fill(templates, &places);
        let mut request = Request::new(&self.model.0, vec![Message::new("user", text)]);
        request.sampling =
            Sampling { max_tokens: self.max_tokens, temperature: self.temperature, ..Sampling::default() };
        request.sample = nth;
        Ok(request)
    }

    /// A revision as one more sample of the turn.
    fn revised(&self, poor: &Judged, sample: u32, reply: &Reply) -> Response {
        Response {
            sample,
            text: reply.text.clone(),
            model: format!("{}@critique", self.model.0),
            finished: reply.finished,
            turn: poor.response.turn.clone(),
        }
    }
}

fn missing((demand, verdict): (&Demand, &Verdict)) -> String {
    match verdict.reason.is_empty() {
        true => format!("- {}\n", demand.text),
        false => format!("- {} ({})\n", demand.text, verdict.reason),
    }
}

fn kept((demand, _): (&Demand, &Verdict)) -> String {
    format!("- {}\n", demand.text)
}
