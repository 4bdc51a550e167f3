//! How this program speaks to itself: a library's stage is run by another process of it, which is sent the border's batches.

use std::process::Command;
use std::sync::Arc;

use obvert_api::frame::{self, Writer};
use obvert_api::{Error, Operation, Outcome};
use serde_json::Value;

use super::Library;
use super::child::Child;
use super::isolated::{Items, Speech};
use super::pipe::Framing;
use super::process::{self, Hello, PROTOCOL, Welcome};

/// A stage of a library.
pub(super) struct Frames {
    pub(super) library: Library,
    pub(super) settings: Value,
    /// By which name its lines go in the log.
    pub(super) name: Option<Arc<str>>,
}

impl Speech for Frames {
    fn start(&self) -> Result<Child, String> {
        let program = std::env::current_exe().map_err(|error| format!("this program is not to be found: {error}"))?;
        let mut command = Command::new(program);
        command.args(process::arguments()).arg("stage-process").arg(&self.library.path);
        Child::start(command, Framing::Lengths)
    }

    fn hello(&self) -> Result<Vec<u8>, String> {
        let (stage, settings) = (self.library.manifest.name.clone(), self.settings.clone());
        let hello = Hello { protocol: PROTOCOL, stage, name: self.name.clone(), settings };
        serde_json::to_vec(&hello).map_err(|error| error.to_string())
    }

    fn welcome(&self, message: &[u8]) -> Result<(), String> {
        match serde_json::from_slice(message) {
            Ok(Welcome::Ready) => Ok(()),
            Ok(Welcome::Refused(cause)) => Err(cause),
            Err(error) => Err(format!("its process speaks another language: {error}")),
        }
    }

    fn batch(&self, items: Items<'_>) -> Result<Vec<u8>, Error> {
        let mut batch = Writer::new(items.operation(), &self.library.manifest.input);
        match items {
            Items::Run(work) => {
                let kind = self.library.manifest.kind;
                work.iter().try_for_each(|work| batch.run(kind, work.item, work.replies))?;
            }
            Items::Ask(_, records) => records.iter().for_each(|record| batch.record(record)),
        }
        Ok(batch.finish())
    }

    fn answer(&self, _: Operation, _: usize, message: &[u8]) -> Result<Result<Outcome, Error>, String> {
        Ok(frame::decode_answer(message))
    }
}
