//! `respond`: samples a policy's answers to a turn.

use obvert_api::prompt::Language;
use obvert_api::record::{Adapter, Response, Turn};
use obvert_api::{Error, Map, ModelName, Output, Reply, Request, Sampling};
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of `respond`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Respond {
    /// The policy.
    model: ModelName,
    /// Answers per turn.
    #[serde(default = "five")]
    #[schemars(range(min = 1))]
    samples: u32,
    /// 0 takes the likeliest token.
    #[serde(default = "unit")]
    temperature: f32,
    /// Smallest set of tokens whose probability reaches this; 1 keeps all.
    #[serde(default = "unit")]
    top_p: f32,
    /// Longest answer, in tokens.
    #[serde(default = "max_tokens")]
    #[schemars(range(min = 1))]
    max_tokens: u32,
    /// Whether the query is followed by the active constraints: for the answers that a dialogue goes on from, which are to be good
    /// ones. The turn itself stays as it is.
    #[serde(default)]
    remind: bool,
    /// Whether the session's adapter answers, if it has one; `false` for a model that it is not of.
    #[serde(default = "yes")]
    adapted: bool,
    /// Seed of the draws.
    #[serde(default)]
    seed: u64,
}

fn yes() -> bool {
    true
}

fn five() -> u32 {
    5
}

fn unit() -> f32 {
    1.0
}

fn max_tokens() -> u32 {
    1024
}

impl Map for Respond {
    const NAME: &'static str = "respond";
    type In = Turn;
    type Out = Response;

    fn map(&self, turn: Turn, replies: &[Reply], out: &mut Output<Response>) -> Result<(), Error> {
        if replies.is_empty() {
            (0..self.samples).for_each(|sample| out.request(self.request(&turn, sample)));
            return Ok(());
        }
        let adapter = self.adapter(&turn).map_or("base", |adapter| &adapter.version);
        let model = format!("{}@{adapter}", self.model.0);
        for (sample, reply) in (0..).zip(replies) {
            let (text, model) = (reply.text.clone(), model.clone());
            out.emit(Response { turn: turn.clone(), sample, text, model, finished: reply.finished });
        }
        Ok(())
    }
}

impl Respond {
    /// The adapter that answers.
    fn adapter<'t>(&self, turn: &'t Turn) -> Option<&'t Adapter> {
        turn.session.adapter.as_ref().filter(|_| self.adapted)
    }

    fn request(&self, turn: &Turn, sample: u32) -> Request {
        let mut messages = turn.messages(turn.session.profile.system());
        if let Some(query) = messages.last_mut().filter(|_| self.remind) {
            query.content.push_str(&reminder(turn));
        }
        let mut request = Request::new(&self.model.0, messages);
        let Respond { temperature, top_p, max_tokens, seed, .. } = *self;
        request.sampling = Sampling { temperature, top_p, max_tokens, seed };
        request.sample = sample;
        request.adapter = self.adapter(turn).map(|adapter| adapter.path.clone()).filter(|path| !path.is_empty());
        request
    }
}

/// The active constraints, as they stand behind a query.
fn reminder(turn: &Turn) -> String {
    let active = turn.active.iter().filter_map(|id| turn.session.profile.constraint(id));
    let lines: String = active.map(|constraint| format!("\n- {}", constraint.text)).collect();
    match lines.is_empty() {
        true => lines,
        false => {
            format!("\n\n{}{lines}", Language::of(&lines).pick("In your answer, mind these rules:", "回答时请遵守："))
        }
    }
}
