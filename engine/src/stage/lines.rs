//! How a program in any language is spoken to: a line of JSON for each message. `obvert_api::guide::languages` has the
//! protocol.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use obvert_api::erased::Kind;
use obvert_api::frame::decode_invocation;
use obvert_api::{Error, Json, Manifest, Operation, Outcome, Reply, Request};
use serde::Deserialize;
use serde_json::{Value, json};

use super::child::Child;
use super::foreign::{Foreign, Types};
use super::isolated::{Isolated, Items, Limits, Speech};
use super::pipe::Framing;
use super::{Runner, build_of};

/// The version of the protocol that this program speaks.
const PROTOCOL: u32 = 1;
/// How long a program may take to say which stages it has.
const LIST: Duration = Duration::from_secs(60);

/// A stage of a program that is not ours.
#[derive(Clone, Debug)]
pub struct Program {
    /// What the stage is.
    pub manifest: Manifest,
    /// Hash of the program's file: a changed one is another.
    pub build: String,
    /// The program's file.
    pub path: PathBuf,
    types: Types,
}

/// Asks a program for its stages.
///
/// # Errors
/// It cannot be run, or does not speak the protocol.
pub fn ask(path: &Path) -> Result<Vec<Program>, String> {
    let file = std::fs::read(path).map_err(|error| error.to_string())?;
    let build = build_of(&file);
    let mut process = Child::start(Command::new(path), Framing::Lines)?;
    process.tell(json!({ "obvert": PROTOCOL }).to_string().into_bytes());
    let message = process.answer(Some(LIST))?;
    let Listed { stages } = read(&message)?;
    if stages.is_empty() {
        return Err("it holds no stage".into());
    }
    let program = |manifest: Manifest| {
        let types = Types::of(&manifest).map_err(|cause| format!("stage `{}`: {cause}", manifest.name))?;
        Ok(Program { manifest, build: build.clone(), path: path.to_path_buf(), types })
    };
    stages.into_iter().map(program).collect()
}

impl Program {
    /// Creates the stage from its settings.
    ///
    /// # Errors
    /// It cannot be started, or refuses them.
    pub fn create(&self, settings: &Value, limits: Limits) -> Result<Arc<dyn Runner>, Error> {
        let speech = Lines { program: self.clone(), settings: settings.clone() };
        Ok(Arc::new(Foreign { types: self.types, stage: Isolated::start(speech, limits)? }))
    }
}

struct Lines {
    program: Program,
    settings: Value,
}

#[derive(Deserialize)]
struct Listed {
    stages: Vec<Manifest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Welcome {
    failed: Option<String>,
}

/// What it says of an item: which it is, and records or requests, or keys, or why it failed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    item: usize,
    records: Option<Vec<Json>>,
    requests: Option<Vec<Request>>,
    key: Option<String>,
    wants: Option<String>,
    failed: Option<String>,
}

impl Answer {
    /// Of a run.
    fn outcome(self) -> Result<Outcome, String> {
        match self {
            Answer { records: None, requests: None, .. } => {
                Err("it answers a run without `records` or `requests`".into())
            }
            Answer { key: None, wants: None, records, requests, .. } => {
                let records = records.unwrap_or_default();
                let records = records.iter().map(|record| record.0.to_string().into_bytes().into()).collect();
                Ok(Outcome { records, requests: requests.unwrap_or_default() })
            }
            _ => Err("it answers a run with a key".into()),
        }
    }

    /// Of a question for keys.
    fn keys(self) -> Result<Outcome, String> {
        let key = self.key.ok_or("it answers without a `key`")?;
        let keys = [key].into_iter().chain(self.wants).map(|key| key.into_bytes().into());
        Ok(Outcome { records: keys.collect(), requests: Vec::new() })
    }
}

fn read<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(line).map_err(|error| {
        let line = String::from_utf8_lossy(line);
        let shown: String = line.chars().take(80).collect();
        format!("it does not speak the protocol: {error} in `{shown}`")
    })
}

impl Speech for Lines {
    fn start(&self) -> Result<Child, String> {
        let content = std::fs::read(&self.program.path).map_err(|error| error.to_string())?;
        if build_of(&content) != self.program.build {
            return Err(
                "its file has changed since the run began: what it makes would pass for what the other made".into()
            );
        }
        Child::start(Command::new(&self.program.path), Framing::Lines)
    }

    fn hello(&self) -> Result<Vec<u8>, String> {
        let hello = json!({ "obvert": PROTOCOL, "stage": self.program.manifest.name, "settings": self.settings });
        Ok(hello.to_string().into_bytes())
    }

    fn welcome(&self, message: &[u8]) -> Result<(), String> {
        read::<Welcome>(message)?.failed.map_or(Ok(()), Err)
    }

    fn batch(&self, items: Items<'_>) -> Result<Vec<u8>, Error> {
        let (operation, items) = match items {
            Items::Run(work) => {
                let item = |item: &[u8], replies: &[Reply]| match self.program.manifest.kind {
                    Kind::Map => Ok(json!({ "record": text(item)?, "replies": replies })),
                    Kind::Group => group(item, replies),
                };
                ("run", work.iter().map(|work| item(work.item, work.replies)).collect::<Result<Vec<_>, Error>>()?)
            }
            Items::Ask(operation, records) => {
                let name = if operation == Operation::Key { "key" } else { "with_key" };
                (name, records.iter().map(|record| text(record)).collect::<Result<_, _>>()?)
            }
        };
        Ok(json!({ operation: items }).to_string().into_bytes())
    }

    fn answer(&self, operation: Operation, item: usize, message: &[u8]) -> Result<Result<Outcome, Error>, String> {
        let mut answer: Answer = read(message)?;
        if answer.item != item {
            return Err(format!("it answers for item {} instead of {item}", answer.item));
        }
        match (answer.failed.take(), operation) {
            (Some(reason), _) => Ok(Err(Error(reason))),
            (None, Operation::Run) => answer.outcome().map(Ok),
            (None, _) => answer.keys().map(Ok),
        }
    }
}

fn text(record: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(record).map_err(Error::new)
}

fn group(item: &[u8], replies: &[Reply]) -> Result<Value, Error> {
    let group = decode_invocation(item)?;
    let records = group.records.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    let with = group.with.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({ "key": group.key, "records": records, "with": with, "replies": replies }))
}
