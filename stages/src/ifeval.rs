//! `ifeval-session`: rows of IFEval's prompts, constraints in the system message, as sessions of one turn.

use obvert_api::record::{Constraint, Persona, Profile, Session};
use obvert_api::{Error, Json, Map, Output, Reply};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// Settings of `ifeval-session`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct IfevalSessions {
    /// What stands above the rules in every system prompt.
    #[serde(default = "description")]
    description: String,
    /// Numbers of prompts that are left out, such as those of a benchmark that will be measured.
    #[serde(default)]
    without: Vec<u64>,
}

fn description() -> String {
    "You are a helpful assistant.".into()
}

/// A row of the file.
#[derive(Deserialize)]
struct Row {
    key: u64,
    instruction_id_list: Vec<String>,
    kwargs: Vec<Value>,
    messages: Vec<obvert_api::record::Message>,
}

impl Map for IfevalSessions {
    const NAME: &'static str = "ifeval-session";
    type In = Json;
    type Out = Session;

    fn map(&self, row: Json, _: &[Reply], out: &mut Output<Session>) -> Result<(), Error> {
        let row = Row::deserialize(row.0).map_err(Error::new)?;
        if self.without.contains(&row.key) {
            return Ok(());
        }
        if row.kwargs.len() != row.instruction_id_list.len() {
            return Err(Error(format!(
                "row {}: {} instructions, {} kwargs",
                row.key,
                row.instruction_id_list.len(),
                row.kwargs.len()
            )));
        }
        let query = row.messages.iter().find(|m| m.role == "user");
        let query = query.ok_or_else(|| Error(format!("row {}: no user message", row.key)))?.content.clone();
        let instructions = row.instruction_id_list.iter().zip(&row.kwargs).enumerate();
        let constraints = instructions.map(|(i, (id, kwargs))| constraint(i, id, kwargs)).collect::<Result<_, _>>()?;
        let id = format!("ifeval-{}", row.key);
        out.emit(Session {
            dialogue: id.clone(),
            profile: Profile {
                id: id.clone(),
                name: "assistant".into(),
                description: self.description.clone(),
                skills: Vec::new(),
                constraints,
            },
            persona: Persona { id, text: String::new(), queries: vec![query] },
            turn: 0,
            history: Vec::new(),
            adapter: None,
        });
        Ok(())
    }
}

fn constraint(index: usize, id: &str, kwargs: &Value) -> Result<Constraint, Error> {
    let checked = obvert_constraints::Constraint::from_ifeval(id, kwargs).map_err(Error::new)?;
    Ok(Constraint {
        id: format!("c{}", index + 1),
        text: checked.text(),
        when: None,
        check: Some(Json(checked.to_json())),
        depends: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use obvert_api::testing::{map, replies};
    use serde_json::json;

    use super::*;

    #[test]
    fn prompts_can_be_left_out_by_number() {
        let made = |key: u64| {
            let row = json!({
                "key": key, "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}],
                "messages": [{ "role": "system", "content": "No commas." }, { "role": "user", "content": "Tea?" }],
            });
            map::<IfevalSessions>(json!({ "without": [1000, 1005] }), Json(row), replies([])).unwrap().records
        };
        assert_eq!(made(1001)[0].dialogue, "ifeval-1001");
        assert!(made(1005).is_empty());
    }
}
