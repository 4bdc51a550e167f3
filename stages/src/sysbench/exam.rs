//! SysBench as a pipeline: `sysbench-session` makes its rows sessions, `sysbench-verdicts` writes verdicts as `obvert eval sysbench` and
//! `sysbench-scores` read them. Between them stands `sysbench-judge`.

use obvert_api::record::{Judged, Session};
use obvert_api::{Error, Json, Map, Output, Reply};
use schemars::JsonSchema;
use serde::Deserialize;

use super::SessionRow;
use crate::benchmark::only_answer;

/// Settings of `sysbench-session`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SysbenchSessions {
    /// What a model sees of earlier turns.
    #[serde(default)]
    history: History,
}

/// Whose answers stand in the history.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum History {
    /// The model's own: a session is answered turn by turn, in a loop that `next` closes.
    #[default]
    Own,
    /// Those of the benchmark: every turn stands by itself, and there is no loop.
    Given,
}

/// `sysbench-verdicts` has no settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SysbenchVerdicts {}

impl Map for SysbenchSessions {
    const NAME: &'static str = "sysbench-session";
    type In = Json;
    type Out = Session;

    fn map(&self, row: Json, _: &[Reply], out: &mut Output<Session>) -> Result<(), Error> {
        let row = SessionRow::deserialize(row.0).map_err(Error::new)?;
        if let Some((at, turn)) = row.turns.iter().enumerate().find(|(at, turn)| turn.turn as usize != at + 1) {
            return Err(Error(format!("session {}: turn {} stands at place {}", row.system_id, turn.turn, at + 1)));
        }
        let turns = match self.history {
            History::Own => row.turns.iter().take(1),
            History::Given => row.turns.iter().take(row.turns.len()),
        };
        turns.for_each(|turn| out.emit(row.before(turn.turn, row.profile())));
        Ok(())
    }
}

impl Map for SysbenchVerdicts {
    const NAME: &'static str = "sysbench-verdicts";
    type In = Judged;
    type Out = Json;

    fn map(&self, judged: Judged, _: &[Reply], out: &mut Output<Json>) -> Result<(), Error> {
        only_answer(&judged.response)?;
        let session = &judged.response.turn.session;
        let system_id = session.dialogue.strip_prefix("sysbench-").and_then(|id| id.parse::<u64>().ok());
        let system_id = system_id.ok_or_else(|| Error(format!("`{}` is no session of SysBench", session.dialogue)))?;
        let verdict: Vec<Option<u8>> = judged.adherence().into_iter().map(|said| said.map(u8::from)).collect();
        out.emit(Json(serde_json::json!({
            "model": judged.response.model, "system_id": system_id, "turn": session.turn + 1, "verdict": verdict,
            "response": judged.response.text,
            "reasons": judged.verdicts.iter().map(|verdict| &verdict.reason).collect::<Vec<_>>(),
        })));
        Ok(())
    }
}
