//! Conversations as the benchmark's table has them: a row each, with columns for every turn.

use obvert_constraints::{Constraint, Error as Unreadable};
use serde::Deserialize;
use serde_json::Value;

use super::STEPS;
use crate::Error;

/// A conversation.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Value")]
pub struct Conversation {
    /// Its name, such as `1019:16:en`: the number of IFEval's prompt that it begins with, the variant, the language.
    pub key: String,
    /// The language, in English.
    pub language: String,
    /// What the user says, turn by turn; three turns, or fewer.
    pub turns: Vec<Turn>,
}

/// A turn of the user.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// What the user says.
    pub prompt: String,
    /// What the answer must follow: the instructions of this turn and of all before it.
    pub instructions: Vec<Instruction>,
}

/// An instruction as IFEval writes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Instruction {
    /// Its type.
    pub id: String,
    /// Its arguments.
    pub kwargs: Value,
}

impl Instruction {
    /// How a program decides it. `None` if its arguments make no sense: the benchmark's scorer then fails and takes every answer
    /// for one that does not follow it.
    ///
    /// # Errors
    /// There is no such type.
    pub fn constraint(&self) -> Result<Option<Constraint>, Unreadable> {
        match Constraint::from_multi_if(&self.id, &self.kwargs) {
            Err(unknown @ Unreadable::UnknownType { .. }) => Err(unknown),
            read => Ok(read.ok()),
        }
    }
}

impl TryFrom<Value> for Conversation {
    type Error = Error;

    fn try_from(row: Value) -> Result<Self, Error> {
        let text = |name: &str| row[name].as_str().map(str::to_owned);
        let key = text("key").ok_or_else(|| Error::of("a conversation", "it has no `key`"))?;
        let failed = |cause: String| Error::of(format!("conversation {key}"), cause);
        let language = text("language").ok_or_else(|| failed("it has no `language`".into()))?;
        let turns = (1..=STEPS).map(|number| turn(&row, number)).collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let count = turns.iter().take_while(|turn| turn.is_some()).count();
        if count == 0 || turns[count..].iter().any(Option::is_some) {
            return Err(failed(format!("turn {} has no prompt", count + 1)));
        }
        Ok(Conversation { key, language, turns: turns.into_iter().flatten().collect() })
    }
}

/// The turn of that number, from 1, if the conversation goes so far.
fn turn(row: &Value, number: usize) -> Result<Option<Turn>, String> {
    let column = |name: &str| cell(row, &format!("turn_{number}_{name}"));
    let Some(message) = column("prompt")? else { return Ok(None) };
    let prompt = message["content"].as_str().ok_or(format!("turn {number}: the prompt has no `content`"))?.to_owned();
    let ids = list(column("instruction_id_list")?);
    let kwargs = list(column("kwargs")?);
    if ids.len() != kwargs.len() {
        return Err(format!("turn {number}: {} instructions, {} kwargs", ids.len(), kwargs.len()));
    }
    let instruction = |(id, kwargs): (Value, Value)| {
        let id = id.as_str().ok_or(format!("turn {number}: {id} is no type of instruction"))?.to_owned();
        let kwargs = unfolded(&kwargs).map_err(|e| format!("turn {number}, {id}: {e}"))?;
        Ok(Instruction { id, kwargs })
    };
    let instructions = ids.into_iter().zip(kwargs).map(instruction).collect::<Result<_, String>>()?;
    Ok(Some(Turn { prompt, instructions }))
}

/// A cell that holds JSON: as its text or, from formats that know more than texts, as it is. `None` if it holds nothing; Python
/// writes that as `None` in a table.
fn cell(row: &Value, name: &str) -> Result<Option<Value>, String> {
    match &row[name] {
        Value::Null => Ok(None),
        Value::String(text) if matches!(text.trim(), "" | "None") => Ok(None),
        value => unfolded(value).map(Some).map_err(|e| format!("`{name}` is not JSON: {e}")),
    }
}

fn unfolded(value: &Value) -> serde_json::Result<Value> {
    value.as_str().map_or_else(|| Ok(value.clone()), serde_json::from_str)
}

fn list(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row() -> Value {
        json!({
            "key": "7:1:en", "language": "English",
            "turn_1_prompt": "{\"role\": \"user\", \"content\": \"Tea?\"}",
            "turn_1_instruction_id_list": "[\"punctuation:no_comma\"]",
            "turn_1_kwargs": "[\"{}\"]",
            "turn_2_prompt": { "role": "user", "content": "Longer." },
            "turn_2_instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
            "turn_2_kwargs": ["{}", "{\"relation\": \"at least\", \"num_words\": 3}"],
            "turn_3_prompt": "None", "turn_3_instruction_id_list": "", "turn_3_kwargs": null,
        })
    }

    #[test]
    fn cells_may_be_texts_or_parsed_and_the_last_turn_may_be_missing() {
        let read: Conversation = serde_json::from_value(row()).unwrap();
        assert_eq!((read.key.as_str(), read.language.as_str(), read.turns.len()), ("7:1:en", "English", 2));
        let said: Vec<(&str, usize)> = read.turns.iter().map(|t| (t.prompt.as_str(), t.instructions.len())).collect();
        assert_eq!(said, [("Tea?", 1), ("Longer.", 2)]);
        assert_eq!(read.turns[1].instructions[1].kwargs, json!({ "relation": "at least", "num_words": 3 }));
        assert_eq!(read.turns[1].instructions[0].constraint().unwrap().unwrap().kind(), "punctuation:no_comma");
    }

    #[test]
    fn a_row_that_cannot_be_read_is_named_with_the_cause() {
        for (field, value, cause) in [
            ("turn_1_prompt", json!(""), "conversation 7:1:en: turn 1 has no prompt"),
            ("turn_3_prompt", json!({}), "conversation 7:1:en: turn 3: the prompt has no `content`"),
            ("turn_2_kwargs", json!("[]"), "conversation 7:1:en: turn 2: 2 instructions, 0 kwargs"),
            ("turn_1_kwargs", json!("[\"{\"]"), "conversation 7:1:en: turn 1, punctuation:no_comma: EOF while"),
            ("turn_1_kwargs", json!("["), "conversation 7:1:en: `turn_1_kwargs` is not JSON: EOF while"),
            ("key", json!(7), "a conversation: it has no `key`"),
        ] {
            let mut row = row();
            row[field] = value;
            let error = Conversation::try_from(row).unwrap_err().to_string();
            assert!(error.starts_with(cause), "{error}");
        }
    }

    #[test]
    fn arguments_without_sense_are_followed_by_no_answer_and_an_unknown_type_is_an_error() {
        let of = |id: &str, kwargs| Instruction { id: id.into(), kwargs }.constraint();
        assert_eq!(of("keywords:existence", json!({ "keywords": ["("] })), Ok(None));
        assert!(of("punctuation:no_comas", json!({})).unwrap_err().to_string().contains("no_comas"));
    }
}
