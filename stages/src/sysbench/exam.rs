//! SysBench as a pipeline: `sysbench-session` makes its rows sessions, `sysbench-verdicts` writes verdicts as `obvert eval sysbench` and
//! `sysbench-scores` read them. Between them stands `sysbench-judge`.

use obvert_api::record::{Judged, Session};
use obvert_api::{Error, Json, Map, Output, Reply};
use obvert_eval::sysbench::Session as Scored;
use schemars::JsonSchema;
use serde::Deserialize;

use super::SessionRow;

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
    /// Those of the benchmark, `gold`: every turn stands by itself.
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
        // What the scorer cannot read is not worth a call.
        Scored::deserialize(&row.0).map_err(Error::new)?;
        let row = SessionRow::deserialize(row.0).map_err(Error::new)?;
        let failed = |cause: String| Error(format!("session {}: {cause}", row.system_id));
        if row.turns.is_empty() {
            return Err(failed("it has no turns".into()));
        }
        if let Some((at, turn)) = row.turns.iter().enumerate().find(|(at, turn)| turn.turn as usize != at + 1) {
            return Err(failed(format!("turn {} stands at place {}", turn.turn, at + 1)));
        }
        self.sessions(&row).map_err(failed)?.into_iter().for_each(|session| out.emit(session));
        Ok(())
    }
}

impl SysbenchSessions {
    fn sessions(&self, row: &SessionRow) -> Result<Vec<Session>, String> {
        let queries = |turns: usize| row.turns.iter().take(turns).map(|turn| turn.user.clone()).collect();
        let session = |turn: u32, turns, history| row.session(turn, row.profile(), queries(turns), history);
        match self.history {
            History::Own => Ok(vec![session(1, row.turns.len(), Vec::new())]),
            // A loop has nothing to add to these: the user says nothing more.
            History::Given => {
                let given = |turn: u32| match row.before(turn) {
                    (history, None) => Ok(session(turn, turn as usize, history)),
                    (_, Some(lacking)) => {
                        Err(format!("turn {lacking} has no `gold`, which the history of turn {turn} needs"))
                    }
                };
                row.turns.iter().map(|turn| given(turn.turn)).collect()
            }
        }
    }
}

impl Map for SysbenchVerdicts {
    const NAME: &'static str = "sysbench-verdicts";
    type In = Judged;
    type Out = Json;

    fn map(&self, judged: Judged, _: &[Reply], out: &mut Output<Json>) -> Result<(), Error> {
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
