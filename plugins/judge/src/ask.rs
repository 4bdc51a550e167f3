//! One question to a judge model, and the strict reading of its reply: verdicts are matched by id, never guessed.

use std::collections::BTreeMap;

use obvert_api::form::{Form, Stop, Talk, by_id, list, object, unfenced};
use obvert_api::prompt::{Language, fenced};
use obvert_api::record::{Constraint, Message, PairConstraint, Verdict};
use obvert_api::serde::Deserialize;
use obvert_api::serde_json::{self, json};
use obvert_api::{Error, Json, ModelName, Request};

use crate::Judge;

/// A response and what it must satisfy.
pub(crate) struct Question<'a> {
    pub(crate) query: &'a str,
    pub(crate) response: &'a str,
    pub(crate) demands: Vec<Demand<'a>>,
}

/// One demand.
#[derive(Clone, Copy)]
pub(crate) struct Demand<'a> {
    pub(crate) id: &'a str,
    pub(crate) text: &'a str,
    /// How a program decides it.
    pub(crate) check: Option<&'a Json>,
}

impl<'a> From<&'a Constraint> for Demand<'a> {
    fn from(constraint: &'a Constraint) -> Self {
        Demand { id: &constraint.id, text: &constraint.text, check: constraint.check.as_ref() }
    }
}

impl<'a> From<&'a PairConstraint> for Demand<'a> {
    fn from(constraint: &'a PairConstraint) -> Self {
        Demand { id: &constraint.id, text: &constraint.text, check: constraint.check.as_ref() }
    }
}

#[derive(Deserialize)]
#[serde(crate = "obvert_api::serde", deny_unknown_fields)]
struct Answer {
    verdicts: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(crate = "obvert_api::serde", deny_unknown_fields)]
struct Row {
    id: String,
    #[serde(default)]
    reason: String,
    satisfied: Option<bool>,
}

/// The verdicts of one reply by id.
type Verdicts = BTreeMap<String, Verdict>;

impl Question<'_> {
    /// One verdict per demand, in order.
    pub(crate) fn decide(&self, judge: &Judge, talk: &mut Talk) -> Result<Vec<Verdict>, Stop> {
        let asked: Vec<Demand> = self.demands.iter().filter(|demand| demand.check.is_none()).copied().collect();
        let mut judged = self.judged(judge, &asked, talk)?;
        let verdict = |demand: &Demand| match demand.check {
            Some(check) => judge.checks.satisfied(check, self.response).map(|satisfied| Verdict {
                constraint: demand.id.into(),
                satisfied: Some(satisfied),
                reason: String::new(),
                by: "program".into(),
            }),
            None => Ok(judged.remove(demand.id).unwrap_or_else(|| undecided(demand.id))),
        };
        Ok(self.demands.iter().map(verdict).collect::<Result<_, Error>>()?)
    }

    fn judged(&self, judge: &Judge, asked: &[Demand], talk: &mut Talk) -> Result<Verdicts, Stop> {
        let Some(first) = asked.first() else { return Ok(Verdicts::new()) };
        let model = judge
            .model
            .as_ref()
            .ok_or_else(|| Error(format!("no program decides `{}` and the stage has no `model` to ask", first.id)))?;
        let mut request = self.request(judge.language, model, asked);
        request.sampling.temperature = judge.temperature();
        let read = |text: &str| read(text, asked);
        let form = Form { what: "the judge's reply is", request, read: &read, repairs: judge.repairs };
        let votes = talk.ask_times(form, judge.votes)?;
        Ok(asked.iter().map(|demand| majority(demand.id, &model.0, &votes)).collect())
    }

    fn request(&self, language: Option<Language>, model: &ModelName, asked: &[Demand]) -> Request {
        let demands: String = asked.iter().map(|demand| format!("{}: {}\n", demand.id, demand.text)).collect();
        let templates = [include_str!("../prompts/judge.en.txt"), include_str!("../prompts/judge.zh.txt")];
        let (query, response) = (fenced(self.query), fenced(self.response));
        let places = [("query", query.as_str()), ("response", &response), ("demands", &demands)];
        let text = language.unwrap_or_else(|| Language::of(&demands)).fill(templates, &places);
        let mut request = Request::new(&model.0, vec![Message::new("user", text)]);
        let ids: Vec<&str> = asked.iter().map(|demand| demand.id).collect();
        request.schema = Some(Json(schema(&ids)));
        request
    }
}

/// What more than half of the votes say of a demand, with the reason of the first that says so; where none does it is undecided.
fn majority(id: &str, model: &str, votes: &[Verdicts]) -> (String, Verdict) {
    let said: Vec<&Verdict> = votes.iter().filter_map(|verdicts| verdicts.get(id)).collect();
    let agree = |satisfied| said.iter().filter(|vote| vote.satisfied == Some(satisfied)).count();
    let satisfied = [true, false].into_iter().find(|satisfied| agree(*satisfied) * 2 > votes.len());
    let reason = said.iter().find(|vote| vote.satisfied == satisfied).map(|vote| vote.reason.clone());
    let by = match votes.len() {
        1 => model.to_owned(),
        all => format!("{model}, {} of {all}", said.iter().filter(|vote| vote.satisfied == satisfied).count()),
    };
    (id.to_owned(), Verdict { satisfied, reason: reason.unwrap_or_default(), by, ..undecided(id) })
}

fn schema(ids: &[&str]) -> serde_json::Value {
    let row = json!({
        "id": { "enum": ids },
        "reason": { "type": "string" },
        "satisfied": { "type": ["boolean", "null"] },
    });
    object(json!({ "verdicts": list(object(row), ids.len(), ids.len()) }))
}

/// The verdicts of a reply by id; every asked id exactly once, and no other.
fn read(reply: &str, asked: &[Demand]) -> Result<Verdicts, String> {
    let answer: Answer = serde_json::from_str(unfenced(reply)).map_err(|e| e.to_string())?;
    let verdict = |row: Row| {
        let verdict = Verdict { satisfied: row.satisfied, reason: row.reason, ..undecided(&row.id) };
        (row.id, verdict)
    };
    by_id(answer.verdicts.into_iter().map(verdict), &asked.iter().map(|demand| demand.id).collect::<Vec<_>>())
}

fn undecided(id: &str) -> Verdict {
    Verdict { constraint: id.to_string(), satisfied: None, reason: String::new(), by: String::new() }
}
