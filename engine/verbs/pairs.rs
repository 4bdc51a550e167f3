//! Files of pairs as token ids.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use obvert_stages::output::shards;
use obvert_trainer::TokenPair;
use obvert_trainer::conversation::{Answer, Conversation, Fitted, Limits};
use obvert_trainer::fit::Data;
use obvert_trainer::load::{Dialect, Message};
use obvert_trainer::pair::Batch;
use serde_json::{Value, json};

/// How long a pair may be, as an argument.
#[derive(clap::Args)]
pub struct Length {
    /// Tokens of a prompt and its longer answer at most; the oldest turns are dropped until they fit. The model's own
    /// limit by default.
    #[arg(long)]
    pub max_length: Option<usize>,
}

/// What was read of a file.
pub struct Read {
    path: PathBuf,
    /// What rows are called: `line` or `pair`, counted from 1.
    unit: &'static str,
    /// The pairs that can be used.
    pub data: Data,
    /// The number of the row that each of them was.
    rows: Vec<usize>,
    /// Pairs among them whose history was shortened.
    pub shortened: usize,
    /// Number and reason of every row that cannot be used.
    pub rejected: Vec<(usize, String)>,
}

impl Read {
    fn new(path: &Path, unit: &'static str) -> Self {
        let (path, data, rows) = (path.to_owned(), Data::default(), Vec::new());
        Read { path, unit, data, rows, shortened: 0, rejected: Vec::new() }
    }

    /// Takes in a row: its group and its tokens, or why it has none.
    fn add(&mut self, row: usize, read: anyhow::Result<(String, Fitted)>) {
        match read {
            Ok((group, Fitted { tokens, shortened })) => {
                self.data.groups.push(group);
                self.data.pairs.push(tokens);
                self.rows.push(row);
                self.shortened += usize::from(shortened);
            }
            Err(error) => self.rejected.push((row, format!("{error:#}"))),
        }
    }

    /// Sets pairs aside that could be read and still cannot be used.
    pub fn set_aside(&mut self, pairs: &[usize], reason: &str) {
        self.rejected.extend(pairs.iter().map(|at| (self.rows[*at], reason.to_owned())));
        self.rejected.sort_unstable();
    }

    /// All rows, or the first one that cannot be used.
    pub fn whole(self) -> anyhow::Result<Self> {
        if let Some(first) = self.first_rejected() {
            bail!("{}: {first}", self.path.display());
        }
        Ok(self)
    }

    /// The rows that can be used, of which there must be one.
    pub fn some(self) -> anyhow::Result<Self> {
        match self.first_rejected() {
            _ if !self.data.pairs.is_empty() => Ok(self),
            Some(first) => bail!("{}: no row can be used, the first one is {first}", self.path.display()),
            None => bail!("{}: there are no pairs", self.path.display()),
        }
    }

    /// Where the first row that cannot be used is, and why it cannot.
    pub fn first_rejected(&self) -> Option<String> {
        self.rejected.first().map(|(row, reason)| format!("{} {row}: {reason}", self.unit))
    }

    /// The rows that cannot be used, as they are written down.
    pub fn rejected(&self) -> impl Iterator<Item = Value> {
        self.rejected.iter().map(|(row, reason)| json!({ self.unit: row, "reason": reason }))
    }
}

/// Reads a batch.json of token ids or JSONL in TRL's formats. Pairs of one dialogue, or where a row names none, of one
/// prompt, are a group. Where `margins` are wanted a difference that is no number is an error.
pub fn read(path: &Path, model_path: &Path, limits: &Limits<'_>, margins: bool) -> anyhow::Result<Read> {
    let text = text(path).with_context(|| path.display().to_string())?;
    if let Ok(batch) = serde_json::from_str::<Value>(&text)
        && batch.get("pairs").is_some()
    {
        let batch: Batch = serde_json::from_value(batch).with_context(|| path.display().to_string())?;
        let mut read = Read::new(path, "pair");
        batch.pairs.into_iter().enumerate().for_each(|(index, pair)| read.add(index + 1, token_ids(pair, limits)));
        return Ok(read);
    }
    let (mut read, dialect) = (Read::new(path, "line"), Dialect::open(model_path)?);
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        read.add(index + 1, row(line, &dialect, limits, margins));
    }
    Ok(read)
}

/// The text of a file, or of a run's pairs: the lines of its files are counted through.
fn text(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    for file in files(path)? {
        text += &std::fs::read_to_string(file)?;
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    Ok(text)
}

/// The file, or the files that a run's folder or its folder `pairs` has.
pub fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = shards::found(path, "pairs", "jsonl")?;
    if files.is_empty() && path.join("pairs").is_dir() {
        files = shards::found(&path.join("pairs"), "pairs", "jsonl")?;
    }
    let Some((first, _)) = files.first() else { bail!("no pairs.jsonl in it, nor its parts") };
    if files.iter().any(|(shard, _)| shard.of != first.of) {
        bail!("the pairs in it are being split anew: run the pipeline to its end");
    }
    Ok(files.into_iter().map(|(_, file)| file).collect())
}

fn token_ids(tokens: TokenPair, limits: &Limits<'_>) -> anyhow::Result<(String, Fitted)> {
    limits.check(&tokens)?;
    Ok((format!("{:?}", tokens.prompt), Fitted { tokens, shortened: false }))
}

/// One row in TRL's conversational formats: `prompt`, `chosen` and `rejected`, with `g` (or `margin_g`; 0 where there is none)
/// where margins are wanted, or `prompt`, `completion` and `label`.
fn row(line: &str, dialect: &Dialect, limits: &Limits<'_>, margins: bool) -> anyhow::Result<(String, Fitted)> {
    let row: Value = serde_json::from_str(line)?;
    let prompt: Vec<Message> = said(&row, "prompt")?.into_iter().map(|(role, text)| Message::new(role, text)).collect();
    let (chosen, rejected) = match (row.get("completion"), row["label"].as_bool()) {
        (Some(_), Some(true)) => (Some("completion"), None),
        (Some(_), Some(false)) => (None, Some("completion")),
        (Some(_), None) => bail!("`label` is neither true nor false"),
        (None, _) => (Some("chosen"), Some("rejected")),
    };
    let (chosen, rejected) = (answer(&row, chosen, "chosen")?, answer(&row, rejected, "rejected")?);
    let gap = if margins { gap(&row)? } else { 0.0 };
    let fitted = limits.fit(&Conversation { prompt: &prompt, chosen, rejected, gap }, dialect)?;
    Ok((row["dialogue"].as_str().map_or_else(|| row["prompt"].to_string(), str::to_owned), fitted))
}

/// The difference g of a row; 0 where it names none.
fn gap(row: &Value) -> anyhow::Result<f32> {
    let named = ["g", "margin_g"].into_iter().find(|key| row.get(key).is_some_and(|gap| !gap.is_null()));
    let Some(key) = named else { return Ok(0.0) };
    Ok(row[key].as_f64().with_context(|| format!("`{key}` is not a number"))? as f32)
}

/// The answer under a key, if there is one on that side. A row may say that it was cut.
fn answer<'a>(row: &'a Value, key: Option<&str>, side: &str) -> anyhow::Result<Option<Answer<'a>>> {
    let Some(key) = key else { return Ok(None) };
    let [(_, text)] = said(row, key)?[..] else { bail!("`{key}` is not one message") };
    Ok(Some(Answer { text, finished: row["provenance"][format!("{side}_finished")] != false }))
}

/// Role and content of the messages under a key.
fn said<'a>(row: &'a Value, key: &str) -> anyhow::Result<Vec<(&'a str, &'a str)>> {
    let list = row[key].as_array().with_context(|| format!("`{key}` is not a list of messages"))?;
    let message = |message: &'a Value| {
        let both = message["role"].as_str().zip(message["content"].as_str());
        both.with_context(|| format!("a message of `{key}` has no role or no content"))
    };
    list.iter().map(message).collect()
}
