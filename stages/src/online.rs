//! `online`: gives each session the adapter as training has it by then, so that the policy that answers is the one that learns.
//!
//! A session of row n gets the adapter that training has made of the pairs of rows up to n − `staleness`, and waits until it has taken
//! those in. So a run makes the same of the same however fast its calls are, and so many rows are played beside each other. Pairs that
//! lie in training's shuffle window by then, or wait for the next `refresh_every`, are not in that adapter yet.

use obvert_api::record::{Adapter, Session};
use obvert_api::{Error, Group, Output, Reply};
use obvert_engine::pipeline::{Plan, StagePlan};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// Settings of `online`. Its `with` is the stage `train` downstream of it, with `refresh_every`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Online {
    /// A session of row n waits for the pairs of the rows up to n less so many to be taken in, and gets the adapter of then.
    #[serde(default = "staleness")]
    #[schemars(range(min = 1))]
    staleness: u64,
}

fn staleness() -> u64 {
    64
}

/// The setting, of settings that are checked.
pub(crate) fn lag(settings: &Value) -> u64 {
    Online::deserialize(settings).map_or_else(|_| staleness(), |online| online.staleness)
}

impl Group for Online {
    const NAME: &'static str = "online";
    type In = Session;
    type With = Adapter;
    type Out = Session;
    const WITHIN_ROW: bool = true;

    fn key(&self, session: &Session) -> String {
        session.dialogue.clone()
    }

    fn group(
        &self,
        _: &str,
        sessions: Vec<Session>,
        adapters: Vec<Adapter>,
        _: &[Reply],
        out: &mut Output<Session>,
    ) -> Result<(), Error> {
        // Where nothing is trained, as in a preview, there is none.
        for session in sessions {
            out.emit(Session { adapter: adapters.first().cloned(), ..session });
        }
        Ok(())
    }
}

/// Whether it stands between what begins dialogues and the training that it is in step with.
pub(crate) fn check(stage: &StagePlan, plan: &Plan) -> Result<(), (String, String)> {
    let wrong = |field: &str, cause: String| Err((field.to_owned(), cause));
    let [train] = stage.with[..] else {
        return wrong("with", "one stage `train` is needed".into());
    };
    let train = &plan.stages[train];
    if train.kind != "train" || train.settings.get("refresh_every").is_none_or(Value::is_null) {
        return wrong("with", format!("`{}` is not of type `train` with `refresh_every`", train.name));
    }
    for from in &stage.from {
        let reads = |other: &&StagePlan| other.name != stage.name && other.from.contains(from);
        if let Some(other) = plan.stages.iter().find(reads) {
            let cause =
                format!("`{}` is read by `{}` too: its dialogues would not wait", plan.stages[*from].name, other.name);
            return wrong("from", cause);
        }
    }
    match plan.reaches(&stage.name, train) {
        true => Ok(()),
        false => wrong("with", format!("no pair of `{}` comes of what it makes", train.name)),
    }
}
