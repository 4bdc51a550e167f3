//! Constraints in place of those that cannot stay, by a model.

use std::collections::BTreeMap;

use obvert_api::form::{by_id, list, object, unfenced};
use obvert_api::prompt::Language;
use obvert_api::record::{Constraint, Profile};
use obvert_api::serde::Deserialize;
use obvert_api::serde_json::{self, Value, json};

use crate::draft::sound;
use crate::expand::listed;
use crate::review::Wrong;

/// A constraint written anew.
#[derive(Deserialize)]
#[serde(crate = "obvert_api::serde", deny_unknown_fields)]
pub(crate) struct Row {
    id: String,
    text: String,
    when: Option<String>,
}

#[derive(Deserialize)]
#[serde(crate = "obvert_api::serde", deny_unknown_fields)]
struct Rows {
    constraints: Vec<Row>,
}

/// The question and the form of its reply.
pub(crate) fn prompt(profile: &Profile, wrong: &[Wrong], language: Language) -> (String, Value) {
    let shown = format!("{}\n{}", profile.description, listed(&profile.constraints));
    let what: String = wrong.iter().map(|wrong| format!("{}: {}\n", wrong.id, wrong.why)).collect();
    let templates = [include_str!("../prompts/mend.en.txt"), include_str!("../prompts/mend.zh.txt")];
    (language.fill(templates, &[("profile", &shown), ("wrong", &what)]), schema(wrong))
}

fn schema(wrong: &[Wrong]) -> Value {
    let ids: Vec<&str> = wrong.iter().map(|wrong| wrong.id.as_str()).collect();
    let row = json!({ "id": { "enum": ids }, "text": { "type": "string" }, "when": { "type": ["string", "null"] } });
    object(json!({ "constraints": list(object(row), ids.len(), ids.len()) }))
}

/// The constraints of a reply: one of each id that was asked for.
pub(crate) fn read(wrong: &[Wrong], reply: &str) -> Result<BTreeMap<String, Row>, String> {
    let Rows { constraints: rows } = serde_json::from_str(unfenced(reply)).map_err(|e| e.to_string())?;
    for row in &rows {
        sound(&row.text, row.when.as_deref()).map_err(|wrong| format!("`{}` {wrong}", row.id))?;
    }
    let ids: Vec<&str> = wrong.iter().map(|wrong| wrong.id.as_str()).collect();
    by_id(rows.into_iter().map(|row| (row.id.clone(), row)), &ids)
}

/// A constraint as it was written anew, if it was.
pub(crate) fn put_right(constraint: &mut Constraint, rows: &BTreeMap<String, Row>) {
    if let Some(row) = rows.get(&constraint.id) {
        constraint.text = row.text.trim().into();
        constraint.when = row.when.as_ref().map(|when| when.trim().into());
    }
}
