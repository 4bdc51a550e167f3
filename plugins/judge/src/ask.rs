//! One question to a judge model, and the strict reading of its reply: verdicts are matched by id, never guessed.

use std::collections::BTreeMap;

use obvert_api::form::{self, Form, unfenced};
use obvert_api::record::{Message, Verdict};
use obvert_api::serde::Deserialize;
use obvert_api::serde_json::{self, json};
use obvert_api::{Error, Json, ModelName, Reply, Request};

use crate::check::Checks;

/// A response and what it must satisfy: (id, demand, how a program decides it).
pub(crate) struct Question<'a> {
    pub(crate) query: &'a str,
    pub(crate) response: &'a str,
    pub(crate) demands: Vec<(&'a str, &'a str, Option<&'a Json>)>,
}

/// What is to be done next.
pub(crate) enum Step {
    Ask(Request),
    /// One verdict per demand, in order.
    Decided(Vec<Verdict>),
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

impl Question<'_> {
    /// Decides what can be decided, or asks.
    pub(crate) fn decide(
        &self,
        model: Option<&ModelName>,
        repairs: usize,
        checks: &Checks,
        replies: &[Reply],
    ) -> Result<Step, Error> {
        let asked: Vec<(&str, &str)> =
            self.demands.iter().filter(|(_, _, check)| check.is_none()).map(|(id, text, _)| (*id, *text)).collect();
        let mut judged = BTreeMap::new();
        if !asked.is_empty() {
            let model = model.ok_or_else(|| {
                Error(format!("no program decides `{}` and the stage has no `model` to ask", asked[0].0))
            })?;
            let request = self.request(model, &asked);
            let form = Form { what: "the judge's reply is", request, read: &|text| read(text, &asked), repairs };
            match form.step(replies)? {
                form::Step::Ask(request) => return Ok(Step::Ask(request)),
                form::Step::Read(rows) => judged = rows,
            }
        }
        let by = model.map_or("", |model| &model.0);
        let verdict = |(id, _, check): &(&str, &str, Option<&Json>)| match check {
            Some(check) => checks.satisfied(check, self.response).map(|satisfied| Verdict {
                constraint: id.to_string(),
                satisfied: Some(satisfied),
                reason: String::new(),
                by: "program".into(),
            }),
            None => Ok(judged.remove(*id).unwrap_or_else(|| undecided(id)).signed(by)),
        };
        self.demands.iter().map(verdict).collect::<Result<_, _>>().map(Step::Decided)
    }

    fn request(&self, model: &ModelName, asked: &[(&str, &str)]) -> Request {
        let demands: String = asked.iter().map(|(id, text)| format!("{id}: {text}\n")).collect();
        let text = format!(
            "A user asked:\n{}\n\nAn assistant answered:\n{}\n\nDoes the answer satisfy each of these demands?\n\
             {demands}\nReply with JSON only: {{\"verdicts\": [{{\"id\": ..., \"reason\": ..., \"satisfied\": true or \
             false}}, ...]}}, one entry for each id. Where a demand cannot apply to the answer, satisfied is null.",
            self.query, self.response,
        );
        let ids: Vec<&str> = asked.iter().map(|(id, _)| *id).collect();
        let mut request = Request::new(&model.0, vec![Message::new("user", text)]);
        request.schema = Some(Json(schema(&ids)));
        request
    }
}

fn schema(ids: &[&str]) -> serde_json::Value {
    let row = json!({
        "type": "object",
        "properties": {
            "id": { "enum": ids },
            "reason": { "type": "string" },
            "satisfied": { "type": ["boolean", "null"] },
        },
        "required": ["id", "reason", "satisfied"],
        "additionalProperties": false,
    });
    json!({
        "type": "object",
        "properties": { "verdicts": { "type": "array", "items": row, "minItems": ids.len(), "maxItems": ids.len() } },
        "required": ["verdicts"],
        "additionalProperties": false,
    })
}

/// The verdicts of a reply by id; every asked id exactly once, and no other.
fn read(reply: &str, asked: &[(&str, &str)]) -> Result<BTreeMap<String, Verdict>, String> {
    let answer: Answer = serde_json::from_str(unfenced(reply)).map_err(|e| e.to_string())?;
    let mut rows = BTreeMap::new();
    for row in answer.verdicts {
        if !asked.iter().any(|(id, _)| *id == row.id) {
            return Err(format!("`{}` was not asked for", row.id));
        }
        let verdict = Verdict { satisfied: row.satisfied, reason: row.reason, ..undecided(&row.id) };
        if rows.insert(row.id.clone(), verdict).is_some() {
            return Err(format!("`{}` is there twice", row.id));
        }
    }
    match asked.iter().find(|(id, _)| !rows.contains_key(*id)) {
        Some((id, _)) => Err(format!("`{id}` is missing")),
        None => Ok(rows),
    }
}

fn undecided(id: &str) -> Verdict {
    Verdict { constraint: id.to_string(), satisfied: None, reason: String::new(), by: String::new() }
}

trait Signed {
    fn signed(self, by: &str) -> Self;
}

impl Signed for Verdict {
    fn signed(self, by: &str) -> Self {
        Verdict { by: by.to_string(), ..self }
    }
}
