//! A row of a file of pairs, as far as tools read it, and the rules that several of them have.

use obvert_api::record::Message;
use serde::Serialize;
use serde_json::Value;

/// The columns, in their order. None is ever null or missing: loaders infer a column's type from the first rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Row {
    pub(super) prompt: Vec<Message>,
    pub(super) chosen: Vec<Message>,
    pub(super) rejected: Vec<Message>,
    /// The difference g; 0 where the row names none.
    pub(super) margin_g: i32,
    pub(super) id: String,
    pub(super) dialogue: String,
    /// The reversed constraints as they stand in the prompt.
    pub(super) reversed: Vec<String>,
}

impl Row {
    /// Reads a line of JSON.
    ///
    /// # Errors
    /// Names the field that is not what it should be.
    pub(super) fn read(line: &[u8]) -> Result<Self, String> {
        let row: Value = serde_json::from_slice(line).map_err(|e| format!("not JSON: {e}"))?;
        Ok(Row {
            prompt: messages(&row, "prompt")?,
            chosen: messages(&row, "chosen")?,
            rejected: messages(&row, "rejected")?,
            margin_g: gap(&row)?,
            id: text(&row["id"]),
            dialogue: text(&row["dialogue"]),
            reversed: row["reversed"].as_array().into_iter().flatten().map(text).collect(),
        })
    }

    /// The text of a response that is one message, which `check_one` has found.
    pub(super) fn text(response: &[Message]) -> &str {
        response.last().map_or("", |message| &message.content)
    }

    /// The responses with their columns' names.
    pub(super) fn responses(&self) -> [(&'static str, &[Message]); 2] {
        [("chosen", &self.chosen), ("rejected", &self.rejected)]
    }

    /// A chat template asks for the answer behind the prompt: a user, or a tool, speaks last in it, and an assistant in the responses.
    pub(super) fn check_turns(&self) -> Result<(), String> {
        match self.prompt.last().map(|message| &*message.role) {
            Some("user" | "tool") => {}
            Some(role) => {
                return Err(format!("`prompt` ends with a message of the {role}, and none is to be answered"));
            }
            None => return Err("`prompt` has no message".into()),
        }
        for (name, response) in self.responses() {
            let first = response.first().ok_or_else(|| format!("`{name}` has no message"))?;
            if first.role != "assistant" {
                return Err(format!("`{name}` begins with a message of the {}, not the assistant", first.role));
            }
        }
        Ok(())
    }

    /// Roles are those that chat templates know.
    pub(super) fn check_roles(&self) -> Result<(), String> {
        let known = ["system", "user", "assistant", "tool"];
        let all = [&self.prompt, &self.chosen, &self.rejected].into_iter().flatten();
        let unknown = all.map(|message| &*message.role).find(|role| !known.contains(role));
        unknown.map_or(Ok(()), |role| Err(format!("no chat template has the role `{role}`")))
    }

    /// Both responses are one message.
    pub(super) fn check_one(&self) -> Result<(), String> {
        let several = self.responses().into_iter().find(|(_, response)| response.len() != 1);
        several.map_or(Ok(()), |(name, response)| Err(format!("`{name}` is {} messages, not one", response.len())))
    }
}

fn messages(row: &Value, key: &str) -> Result<Vec<Message>, String> {
    let list = row[key].as_array().ok_or_else(|| format!("`{key}` is not a list of messages"))?;
    let message = |message: &Value| Some(Message::new(message["role"].as_str()?, message["content"].as_str()?));
    let read: Option<Vec<_>> = list.iter().map(message).collect();
    read.ok_or_else(|| format!("a message of `{key}` has no role or no content"))
}

fn gap(row: &Value) -> Result<i32, String> {
    let named = ["g", "margin_g"].into_iter().find(|key| row.get(key).is_some_and(|gap| !gap.is_null()));
    let Some(key) = named else { return Ok(0) };
    let whole = row[key].as_i64().and_then(|gap| i32::try_from(gap).ok()).filter(|gap| *gap >= 0);
    whole.ok_or_else(|| format!("`{key}` is not a whole number from 0"))
}

/// Texts as they are, and what else may name something as JSON.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
