//! Files of pairs as token ids.

use std::path::Path;

use anyhow::{Context, bail};
use obvert_trainer::fit::Data;
use obvert_trainer::load::{Dialect, Message};
use obvert_trainer::{Model, TokenPair};
use serde_json::Value;

/// Reads a batch.json of token ids or JSONL in TRL's formats, all of it or nothing: a row that cannot be used is named.
/// Pairs of one dialogue, or where a row names none, of one prompt, are a group.
pub fn read(path: &Path, model_path: &Path, model: &Model<f32>) -> anyhow::Result<Data> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    if let Ok(batch) = serde_json::from_str::<Value>(&text)
        && batch.get("pairs").is_some()
    {
        let pairs = obvert_trainer::pair::Batch::read(path, &model.config)?.pairs;
        let groups = pairs.iter().map(prompt_of).collect();
        return Ok(Data { pairs, groups });
    }
    let dialect = Dialect::open(model_path)?;
    let mut data = Data::default();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = || format!("{}:{}", path.display(), index + 1);
        let value: Value = serde_json::from_str(line).with_context(place)?;
        let pair = row(&value, &dialect).with_context(place)?;
        pair.check(index, &model.config).with_context(place)?;
        let dialogue = value["provenance"]["dialogue"].as_str();
        data.groups.push(dialogue.map_or_else(|| prompt_of(&pair), str::to_owned));
        data.pairs.push(pair);
    }
    Ok(data)
}

fn prompt_of(pair: &TokenPair) -> String {
    format!("{:?}", pair.prompt)
}

/// One row in TRL's conversational formats: `prompt`, `chosen` and `rejected` with `g` (or `margin_g`; 0 where there is
/// none), or `prompt`, `completion` and `label`.
fn row(row: &Value, dialect: &Dialect) -> anyhow::Result<TokenPair> {
    let prompt = messages(row, "prompt")?;
    let ids = dialect.prompt(&prompt)?;
    // A row may say that an answer was cut: then its end is no end to learn.
    let tokens = |key: &str, side: &str| -> anyhow::Result<Vec<u32>> {
        let cut = row["provenance"][format!("{side}_finished")] == false;
        let [answer] = &messages(row, key)?[..] else { bail!("`{key}` is not one message") };
        let answer = &answer.content;
        let (found, tokens) = if cut { dialect.pair_cut(&prompt, answer) } else { dialect.pair(&prompt, answer) }?;
        anyhow::ensure!(found == ids, "`{key}` changes the tokens of the prompt");
        Ok(tokens)
    };
    let (chosen, rejected) = match (row.get("completion"), row["label"].as_bool()) {
        (Some(_), Some(true)) => (tokens("completion", "chosen")?, Vec::new()),
        (Some(_), Some(false)) => (Vec::new(), tokens("completion", "rejected")?),
        (Some(_), None) => bail!("`label` is neither true nor false"),
        (None, _) => (tokens("chosen", "chosen")?, tokens("rejected", "rejected")?),
    };
    let gap = row["g"].as_f64().or(row["margin_g"].as_f64()).unwrap_or_default() as f32;
    Ok(TokenPair { prompt: ids, chosen, rejected, gap })
}

fn messages(row: &Value, key: &str) -> anyhow::Result<Vec<Message>> {
    let list = row[key].as_array().with_context(|| format!("`{key}` is not a list of messages"))?;
    let message = |message: &Value| match (message["role"].as_str(), message["content"].as_str()) {
        (Some(role), Some(content)) => Ok(Message::new(role, content)),
        _ => bail!("a message of `{key}` has no role or no content"),
    };
    list.iter().map(message).collect()
}
