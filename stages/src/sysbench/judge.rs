//! `sysbench-judge`: asks a model for verdicts. As the benchmark's judge it sees the system prompt, the whole dialogue and the turn's
//! criteria with their types, and says yes or no to each, at temperature 0. Otherwise than there the prompt is our own, and a reply
//! that cannot be read is sent back with what is wrong with it, at the same temperature.

use std::collections::BTreeMap;

use obvert_api::form::{Form, Stop, Talk, answered, by_id, object, unfenced};
use obvert_api::prompt::{Language, fenced};
use obvert_api::record::{Judged, Message, Response, Turn, Verdict};
use obvert_api::{Error, Group, Json, ModelName, Output, Reply, Request};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Criterion, SessionRow};
use crate::benchmark::only_answer;

/// Settings of `sysbench-judge`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SysbenchJudge {
    /// The judge model; the benchmark's is GPT-4o.
    model: ModelName,
    /// How often a malformed reply is sent back with its error; nine times, as the benchmark asks ten times in all.
    #[serde(default = "nine")]
    repairs: usize,
}

fn nine() -> usize {
    9
}

/// The judge's reply: a word for each criterion, by its number from 1.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    reason: String,
    result: BTreeMap<String, Value>,
}

impl Group for SysbenchJudge {
    const NAME: &'static str = "sysbench-judge";
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
        format!("sysbench-{}", row.0["system_id"])
    }

    fn group(
        &self,
        _: &str,
        responses: Vec<Response>,
        rows: Vec<Json>,
        replies: &[Reply],
        out: &mut Output<Judged>,
    ) -> Result<(), Error> {
        responses.iter().try_for_each(only_answer)?;
        let Some(turn) = responses.first().map(|response| response.turn.clone()) else { return Ok(()) };
        let criteria = criteria(&turn, rows)?;
        if let Some(judged) = answered(self.judged(responses, &criteria, &mut out.talk(replies)))? {
            judged.into_iter().for_each(|judged| out.emit(judged));
        }
        Ok(())
    }
}

/// What answers to the turn must satisfy.
fn criteria(turn: &Turn, rows: Vec<Json>) -> Result<Vec<Criterion>, Error> {
    let dialogue = &turn.session.dialogue;
    let [row] = <[Json; 1]>::try_from(rows)
        .map_err(|rows| Error(format!("{dialogue}: {} sessions have its system_id", rows.len())))?;
    let row = SessionRow::deserialize(row.0).map_err(Error::new)?;
    let (number, id) = (turn.session.turn + 1, row.system_id);
    let found = row.turns.into_iter().find(|turn| turn.turn == number);
    Ok(found.ok_or_else(|| Error(format!("session {id} has no turn {number}")))?.criteria)
}

impl SysbenchJudge {
    fn judged(&self, responses: Vec<Response>, criteria: &[Criterion], talk: &mut Talk) -> Result<Vec<Judged>, Stop> {
        responses.into_iter().map(|response| self.judge(response, criteria, talk)).collect()
    }

    /// With a verdict on each criterion, which is known by its turn and its id.
    fn judge(&self, mut response: Response, criteria: &[Criterion], talk: &mut Talk) -> Result<Judged, Stop> {
        let read = |text: &str| read(text, criteria.len());
        let request = self.request(&response, criteria);
        let answer = talk.ask(Form { what: "the judge's reply is", request, read: &read, repairs: self.repairs })?;
        let number = response.turn.session.turn + 1;
        let verdict = |(place, criterion): (usize, &Criterion)| Verdict {
            constraint: format!("{number}.{}", criterion.id),
            satisfied: answer.result.get(&place.to_string()).and_then(satisfied),
            reason: answer.reason.clone(),
            by: self.model.0.clone(),
        };
        let verdicts: Vec<Verdict> = (1..).zip(criteria).map(verdict).collect();
        response.turn.active = verdicts.iter().map(|verdict| verdict.constraint.clone()).collect();
        Ok(Judged { response, verdicts })
    }

    fn request(&self, response: &Response, criteria: &[Criterion]) -> Request {
        let Response { turn, text, .. } = response;
        let said = |message: &Message| format!("{}: {}\n", message.role, message.content);
        let dialogue: String = turn.session.history.iter().map(said).collect();
        let criterion = |(place, of): (usize, &Criterion)| format!("{place}. {} | {}\n", of.text, of.kind);
        let criteria_text: String = (1..).zip(criteria).map(criterion).collect();
        let texts = [&turn.session.profile.description, &dialogue, &turn.query, text].map(|text| fenced(text));
        let [system, dialogue, query, answer] = &texts;
        let places = [
            ("system", system.as_str()),
            ("dialogue", dialogue),
            ("query", query),
            ("answer", answer),
            ("criteria", &criteria_text),
        ];
        let templates = [include_str!("judge.en.txt"), include_str!("judge.zh.txt")];
        let prompt = Language::of(&criteria_text).fill(templates, &places);
        let mut request = Request::new(&self.model.0, vec![Message::new("user", prompt)]);
        request.sampling.temperature = 0.0;
        request.schema = Some(Json(schema(criteria.len())));
        request
    }
}

fn schema(criteria: usize) -> Value {
    // Any word: judges must be able to say that a criterion does not apply.
    let words = (1..=criteria).map(|place| (place.to_string(), json!({ "type": "string" })));
    object(json!({ "reason": { "type": "string" }, "result": object(words.collect()) }))
}

/// A reply with a word for every criterion, and for no other.
fn read(reply: &str, criteria: usize) -> Result<Answer, String> {
    let Answer { reason, result } = serde_json::from_str(unfenced(reply)).map_err(|e| e.to_string())?;
    let places: Vec<String> = (1..=criteria).map(|place| place.to_string()).collect();
    let result = by_id(result, &places.iter().map(String::as_str).collect::<Vec<_>>())?;
    Ok(Answer { reason, result })
}

/// Judges say other things now and then, mostly that a criterion does not apply: that is neither yes nor no.
fn satisfied(word: &Value) -> Option<bool> {
    let said = word.as_str().unwrap_or_default().trim().trim_end_matches(['.', '。', '!', '！']).to_lowercase();
    match said.as_str() {
        "yes" | "是" => Some(true),
        "no" | "否" => Some(false),
        _ => word.as_bool(),
    }
}
