//! Pairs for LLaMA-Factory: a sharegpt ranking file and the `dataset_info.json` that registers it.
//!
//! LLaMA-Factory skips a row that breaks its rules with a warning, and training goes on without it. So the rules of
//! its `data/converter.py` (0.9.5) are applied here to every row, and a row that breaks one is an error.

use std::fs;
use std::io::Write;
use std::path::Path;

use obvert_api::record::{Message, Pair};
use serde::Serialize;
use serde_json::json;

use super::shards::{self, Shard};
use super::{Error, atomic};

/// The data set's name in `dataset_info.json`: `dataset: rpo` in a training configuration.
pub const DATASET: &str = "rpo";
/// The file of rows.
pub const FILE: &str = "rpo.json";

/// One row as it stands in the file; `id` and `g` are for people, the trainer drops them.
#[derive(Serialize)]
pub(super) struct Row<'a> {
    conversations: Vec<Said<'a>>,
    system: &'a str,
    chosen: Said<'a>,
    rejected: Said<'a>,
    id: &'a str,
    g: u32,
}

#[derive(Serialize)]
struct Said<'a> {
    from: &'a str,
    value: &'a str,
}

/// Writes `rpo.json` and `dataset_info.json` into `dir`. Nothing is written unless every row passes.
///
/// # Errors
/// The first pair that breaks a rule or could not be read; what the file system reports.
pub fn write_pairs(dir: &Path, pairs: impl IntoIterator<Item = Result<Pair, Error>>) -> Result<(), Error> {
    write_shard(dir, Shard::WHOLE, pairs)?;
    settle_shards(dir, 1)
}

/// Writes one file of rows: `rpo.json`, or one of a folder for all of the same number, which LLaMA-Factory reads as a whole.
///
/// # Errors
/// As of `write_pairs`.
pub fn write_shard(
    dir: &Path,
    shard: Shard,
    pairs: impl IntoIterator<Item = Result<Pair, Error>>,
) -> Result<(), Error> {
    let name = shard.name(DATASET, "json");
    let file = if shard.of == 1 { dir.join(name) } else { dir.join(folder(shard.of)).join(name) };
    atomic::write_by_way_of(&dir.join(format!(".{FILE}.tmp")), &file, |out| rows(&file, out, pairs))
}

/// Registers the rows of so many files, and removes others.
///
/// # Errors
/// What the file system reports.
pub fn settle_shards(dir: &Path, of: u32) -> Result<(), Error> {
    let info = dir.join("dataset_info.json");
    atomic::write(&info, |out| serde_json::to_writer_pretty(out, &dataset_info(of)).map_err(Error::json(&info)))?;
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        let path = entry.map_err(Error::io(dir))?.path();
        let files = path.file_name().and_then(|name| name.to_str()).and_then(files_of);
        if files.is_some_and(|files| files != of) {
            fs::remove_dir_all(&path).map_err(Error::io(&path))?;
        }
    }
    shards::remove_others(dir, DATASET, "json", of)
}

/// What `dataset_info.json` calls the rows of so many files: the one, or their folder.
pub(super) fn rows_in(of: u32) -> String {
    if of == 1 { FILE.to_owned() } else { folder(of) }
}

/// Name of the folder of so many files.
fn folder(of: u32) -> String {
    format!("{DATASET}-{of:05}")
}

/// The number of files whose folder has this name.
fn files_of(name: &str) -> Option<u32> {
    let of = name.strip_prefix(DATASET)?.strip_prefix('-')?.parse().ok()?;
    (folder(of) == name).then_some(of)
}

fn dataset_info(of: u32) -> serde_json::Value {
    let columns = json!({"messages": "conversations", "system": "system", "chosen": "chosen", "rejected": "rejected"});
    json!({DATASET: {"file_name": rows_in(of), "formatting": "sharegpt", "ranking": true, "columns": columns}})
}

/// A JSON array with one row a line.
fn rows(path: &Path, out: &mut atomic::Out, pairs: impl IntoIterator<Item = Result<Pair, Error>>) -> Result<(), Error> {
    let (mut before, mut end): (&[u8], &[u8]) = (b"[\n", b"[]\n");
    for pair in pairs {
        let pair = pair?;
        let row = Row::from(&pair);
        check(&row).map_err(|rule| Error::Pair { path: path.into(), pair: pair.id.clone(), rule })?;
        out.write_all(before).map_err(Error::io(path))?;
        serde_json::to_writer(&mut *out, &row).map_err(Error::json(path))?;
        (before, end) = (b",\n", b"\n]\n");
    }
    out.write_all(end).map_err(Error::io(path))
}

impl<'a> From<&'a Pair> for Row<'a> {
    fn from(pair: &'a Pair) -> Self {
        Row::new(&pair.prompt, [&pair.chosen, &pair.rejected], &pair.id, pair.g)
    }
}

impl<'a> Row<'a> {
    /// Of a prompt, which may begin with the system's message, and both responses.
    pub(super) fn new(prompt: &'a [Message], [chosen, rejected]: [&'a str; 2], id: &'a str, g: u32) -> Self {
        let (system, rest) = match prompt.split_first() {
            Some((first, rest)) if first.role == "system" => (first.content.as_str(), rest),
            _ => ("", prompt),
        };
        Row {
            conversations: rest.iter().map(Said::from).collect(),
            system,
            chosen: Said { from: "gpt", value: chosen },
            rejected: Said { from: "gpt", value: rejected },
            id,
            g,
        }
    }
}

impl<'a> From<&'a Message> for Said<'a> {
    /// A role without a counterpart stays as it is, for the check to refuse.
    fn from(message: &'a Message) -> Self {
        let from = match message.role.as_str() {
            "user" => "human",
            "assistant" => "gpt",
            other => other,
        };
        Said { from, value: &message.content }
    }
}

/// Human and assistant alternate, the human first and last: hence an odd count.
pub(super) fn check(row: &Row) -> Result<(), String> {
    for (i, said) in row.conversations.iter().enumerate() {
        let expected = if i % 2 == 0 { "human" } else { "gpt" };
        if said.from != expected {
            return Err(format!("message {} is from {:?}, LLaMA-Factory expects {expected:?} there", i + 1, said.from));
        }
    }
    let count = row.conversations.len();
    if count.is_multiple_of(2) {
        return Err(format!("{count} messages before the answer, LLaMA-Factory expects an odd number"));
    }
    Ok(())
}
