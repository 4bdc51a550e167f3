//! Multi-IF as a pipeline: `multi-if-session` makes its conversations sessions without a system prompt, `multi-if-judged` decides
//! what is answered, `multi-if-responses` writes answers as `obvert eval multi-if` and `multi-if-scores` read them.

use obvert_api::record::{Judged, Persona, Profile, Response, Session, Verdict};
use obvert_api::{Error, Group, Json, Map, Output, Reply};
use obvert_eval::multi_if::{Conversation, Instruction};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::benchmark::only_answer;

/// `multi-if-session` has no settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MultiIfSessions {}

/// `multi-if-judged` has no settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MultiIfJudged {}

/// `multi-if-responses` has no settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MultiIfResponses {}

impl Map for MultiIfSessions {
    const NAME: &'static str = "multi-if-session";
    type In = Json;
    type Out = Session;

    fn map(&self, row: Json, _: &[Reply], out: &mut Output<Session>) -> Result<(), Error> {
        let Conversation { key, turns, .. } = conversation(row)?;
        let (name, description) = (String::new(), String::new());
        out.emit(Session {
            dialogue: key.clone(),
            profile: Profile { id: key.clone(), name, description, skills: Vec::new(), constraints: Vec::new() },
            persona: Persona { id: key, text: String::new(), queries: turns.into_iter().map(|t| t.prompt).collect() },
            turn: 0,
            history: Vec::new(),
            adapter: None,
        });
        Ok(())
    }
}

fn conversation(row: Json) -> Result<Conversation, Error> {
    Conversation::try_from(row.0).map_err(Error::new)
}

impl Group for MultiIfJudged {
    const NAME: &'static str = "multi-if-judged";
    type In = Response;
    type With = Json;
    type Out = Judged;
    const WITHIN_ROW: bool = true;

    fn key(&self, response: &Response) -> String {
        response.turn.id()
    }

    fn looks_up(&self, response: &Response) -> Option<String> {
        Some(response.turn.session.dialogue.clone())
    }

    fn with_key(&self, row: &Json) -> String {
        row.0["key"].as_str().unwrap_or_default().to_owned()
    }

    fn group(
        &self,
        _: &str,
        responses: Vec<Response>,
        rows: Vec<Json>,
        _: &[Reply],
        out: &mut Output<Judged>,
    ) -> Result<(), Error> {
        responses.iter().try_for_each(only_answer)?;
        let Some(session) = responses.first().map(|response| response.turn.session.clone()) else { return Ok(()) };
        let instructions = instructions(&session, rows)?;
        for response in responses {
            out.emit(judged(response, &instructions)?);
        }
        Ok(())
    }
}

/// What answers to the session's turn must follow.
fn instructions(session: &Session, rows: Vec<Json>) -> Result<Vec<Instruction>, Error> {
    let (key, turn) = (&session.dialogue, session.turn);
    let [row] = <[Json; 1]>::try_from(rows)
        .map_err(|rows| Error(format!("conversation {key}: {} rows have this key", rows.len())))?;
    let found = conversation(row)?.turns.into_iter().nth(turn as usize);
    let found = found.ok_or_else(|| Error(format!("conversation {key} has no turn {}", turn + 1)))?;
    Ok(found.instructions)
}

/// With a strict verdict on each instruction, which is known by its place and type.
fn judged(mut response: Response, instructions: &[Instruction]) -> Result<Judged, Error> {
    let verdict = |(number, instruction): (usize, &Instruction)| {
        let constraint = instruction.constraint().map_err(Error::new)?;
        Ok(Verdict {
            constraint: format!("{number}:{}", instruction.id),
            satisfied: Some(constraint.is_some_and(|constraint| constraint.check(&response.text))),
            reason: String::new(),
            by: "program".into(),
        })
    };
    let verdicts: Vec<Verdict> = (1..).zip(instructions).map(verdict).collect::<Result<_, Error>>()?;
    response.turn.active = verdicts.iter().map(|verdict| verdict.constraint.clone()).collect();
    Ok(Judged { response, verdicts })
}

impl Map for MultiIfResponses {
    const NAME: &'static str = "multi-if-responses";
    type In = Response;
    type Out = Json;

    fn map(&self, response: Response, _: &[Reply], out: &mut Output<Json>) -> Result<(), Error> {
        let Response { turn, text, model, .. } = response;
        let (key, number) = (turn.session.dialogue, turn.session.turn + 1);
        out.emit(Json(serde_json::json!({ "model": model, "key": key, "turn": number, "response": text })));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
