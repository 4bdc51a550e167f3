//! Files of pairs as token ids.

use std::path::Path;

use anyhow::{Context, bail};
use obvert_trainer::fit::Data;
use obvert_trainer::load::{Dialect, Message};
use obvert_trainer::loss::Sides;
use obvert_trainer::{Model, TokenPair};
use serde_json::Value;

/// Reads a batch.json of token ids or JSONL in TRL's formats, all of it or nothing: a row that cannot be used, or that
/// lacks a response which a loss needs, is named.
/// Pairs of one dialogue, or where a row names none, of one prompt, are a group.
pub fn read(path: &Path, model_path: &Path, model: &Model<f32>, sides: Sides) -> anyhow::Result<Data> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    if let Ok(batch) = serde_json::from_str::<Value>(&text)
        && batch.get("pairs").is_some()
    {
        let pairs = obvert_trainer::pair::Batch::read(path, &model.config)?.pairs;
        pairs.iter().enumerate().try_for_each(|(index, pair)| pair.check_sides(index, sides))?;
        let groups = pairs.iter().map(|pair| format!("{:?}", pair.prompt)).collect();
        return Ok(Data { pairs, groups });
    }
    let dialect = Dialect::open(model_path)?;
    let mut data = Data::default();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = || format!("{}:{}", path.display(), index + 1);
        let value: Value = serde_json::from_str(line).with_context(place)?;
        let pair = row(&value, &dialect).with_context(place)?;
        pair.check(index, &model.config).and_then(|()| pair.check_sides(index, sides)).with_context(place)?;
        data.groups.push(value["dialogue"].as_str().map_or_else(|| value["prompt"].to_string(), str::to_owned));
        data.pairs.push(pair);
    }
    Ok(data)
}

/// One row in TRL's conversational formats: `prompt`, `chosen` and `rejected` with `g` (or `margin_g`; 0 where there is
/// none), or `prompt`, `completion` and `label`.
fn row(row: &Value, dialect: &Dialect) -> anyhow::Result<TokenPair> {
    let prompt = messages(row, "prompt")?;
    // A row may say that an answer was cut: then its end is no end to learn.
    let tokens = |key: &str, side: &str| -> anyhow::Result<_> {
        let cut = row["provenance"][format!("{side}_finished")] == false;
        let [answer] = &messages(row, key)?[..] else { bail!("`{key}` is not one message") };
        let answer = &answer.content;
        Ok(if cut { dialect.pair_cut(&prompt, answer) } else { dialect.pair(&prompt, answer) }?)
    };
    let gap = row["g"].as_f64().or(row["margin_g"].as_f64()).unwrap_or_default() as f32;
    let ((prompt, chosen), rejected) = match (row.get("completion"), row["label"].as_bool()) {
        (Some(_), Some(true)) => (tokens("completion", "chosen")?, Vec::new()),
        (Some(_), Some(false)) => {
            let (prompt, rejected) = tokens("completion", "rejected")?;
            ((prompt, Vec::new()), rejected)
        }
        (Some(_), None) => bail!("`label` is neither true nor false"),
        (None, _) => (tokens("chosen", "chosen")?, tokens("rejected", "rejected")?.1),
    };
    Ok(TokenPair { prompt, chosen, rejected, gap })
}

fn messages(row: &Value, key: &str) -> anyhow::Result<Vec<Message>> {
    let list = row[key].as_array().with_context(|| format!("`{key}` is not a list of messages"))?;
    let message = |message: &Value| match (message["role"].as_str(), message["content"].as_str()) {
        (Some(role), Some(content)) => Ok(Message::new(role, content)),
        _ => bail!("a message of `{key}` has no role or no content"),
    };
    list.iter().map(message).collect()
}
