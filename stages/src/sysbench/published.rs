//! SysBench's published answers and verdicts as records, so that pairs can be made without a model: `sysbench-profile` and
//! `sysbench-judged`.
//!
//! The answers were given on the benchmark's own history. Where a row lacks an answer of it, the history of later turns begins behind that.
//!
//! A response row holds one model's answer to one turn and a judge's verdict per criterion (1 yes, 0 no, null other). A criterion's id
//! in a profile is `turn.id`.

use obvert_api::record::{Constraint, Judged, Profile, Response, Turn, Verdict};
use obvert_api::{Error, Group, Json, Map, Output, Reply};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Criterion, SessionRow};

/// `sysbench-profile` has no settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SysbenchProfiles {}

/// `sysbench-judged` has no settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SysbenchJudged {}

#[derive(Deserialize)]
struct ResponseRow {
    model: String,
    system_id: u64,
    turn: u32,
    verdict: Vec<Option<u8>>,
    response: String,
}

impl Map for SysbenchProfiles {
    const NAME: &'static str = "sysbench-profile";
    type In = Json;
    type Out = Profile;

    fn map(&self, row: Json, _: &[Reply], out: &mut Output<Profile>) -> Result<(), Error> {
        out.emit(SessionRow::deserialize(row.0).map_err(Error::new)?.with_criteria());
        Ok(())
    }
}

impl Group for SysbenchJudged {
    const NAME: &'static str = "sysbench-judged";
    type In = Json;
    type With = Json;
    type Out = Judged;

    fn key(&self, response: &Json) -> String {
        format!("{}.{}", response.0["system_id"], response.0["turn"])
    }

    fn looks_up(&self, response: &Json) -> Option<String> {
        Some(response.0["system_id"].to_string())
    }

    fn with_key(&self, session: &Json) -> String {
        session.0["system_id"].to_string()
    }

    fn group(
        &self,
        key: &str,
        responses: Vec<Json>,
        sessions: Vec<Json>,
        _: &[Reply],
        out: &mut Output<Judged>,
    ) -> Result<(), Error> {
        let [session] = &sessions[..] else {
            return Err(Error(format!("turn {key}: {} sessions have its system_id", sessions.len())));
        };
        let session = SessionRow::deserialize(&session.0).map_err(Error::new)?;
        let mut rows = responses
            .into_iter()
            .map(|row| ResponseRow::deserialize(row.0).map_err(|e| Error(format!("turn {key}: {e}"))))
            .collect::<Result<Vec<_>, _>>()?;
        rows.sort_by(|a, b| a.model.cmp(&b.model));
        for (sample, row) in (0..).zip(rows) {
            out.emit(session.judged(row, sample)?);
        }
        Ok(())
    }
}

impl SessionRow {
    /// With the criteria of all turns as constraints.
    fn with_criteria(&self) -> Profile {
        let constraints = self.turns.iter().flat_map(|turn| {
            turn.criteria.iter().map(|criterion| Constraint {
                id: format!("{}.{}", turn.turn, criterion.id),
                text: criterion.text.clone(),
                when: None,
                check: None,
                depends: Vec::new(),
            })
        });
        Profile { constraints: constraints.collect(), ..self.profile() }
    }

    fn judged(&self, row: ResponseRow, sample: u32) -> Result<Judged, Error> {
        let (system, number) = (row.system_id, row.turn);
        let turn = self.turns.iter().find(|turn| turn.turn == number);
        let turn = turn.ok_or_else(|| Error(format!("session {system} has no turn {number}")))?;
        if row.verdict.len() != turn.criteria.len() {
            let (found, expected) = (row.verdict.len(), turn.criteria.len());
            return Err(Error(format!("{system}.{number} by {}: {found} verdicts on {expected} criteria", row.model)));
        }
        let id = |criterion: &Criterion| format!("{number}.{}", criterion.id);
        let verdicts = turn.criteria.iter().zip(&row.verdict).map(|(criterion, verdict)| Verdict {
            constraint: id(criterion),
            satisfied: verdict.filter(|v| *v <= 1).map(|v| v == 1),
            reason: String::new(),
            by: "sysbench".into(),
        });
        let verdicts = verdicts.collect();
        let turn = Turn {
            session: self.session(number, self.with_criteria(), Vec::new(), self.before(number).0),
            query: turn.user.clone(),
            active: turn.criteria.iter().map(id).collect(),
        };
        Ok(Judged {
            response: Response { turn, sample, text: row.response, model: row.model, finished: true },
            verdicts,
        })
    }
}
