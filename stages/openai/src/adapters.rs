//! Adapters that a server is handed: each is loaded once, under its version's name, and is a model of the server then.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use obvert_engine::model::{Failure, Then};
use serde_json::json;

use crate::{Adapters, Client, failure};

/// Names of those that it has.
#[derive(Default)]
pub(crate) struct Loaded(Mutex<HashSet<String>>);

impl Loaded {
    /// The name of the model that answers with the adapter of a folder. Calls that come while it is loaded wait for that.
    pub(crate) fn name(&self, client: &Client, folder: &str, within: Duration) -> Result<String, Failure> {
        if client.settings.adapters == Adapters::None {
            let cause = format!(
                "it is to answer with the adapter {folder}: set adapters = \"vllm\" in [model.*] where the server can be handed \
                 adapters, or adapted = false in a stage that asks a model of another kind"
            );
            return Err(Failure::new(cause, Then::End));
        }
        let name = Path::new(folder).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut loaded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !loaded.contains(&name) {
            load(client, &name, folder, within)?;
            loaded.insert(name.clone());
        }
        Ok(name)
    }

    /// The server does not have it any more.
    pub(crate) fn forget(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

fn load(client: &Client, name: &str, folder: &str, within: Duration) -> Result<(), Failure> {
    let folder = std::path::absolute(folder).map_err(|error| Failure::new(error, Then::Leave))?;
    let body = json!({ "lora_name": name, "lora_path": folder });
    let (status, said) = client.ask("load_lora_adapter", Some(&body), within)?;
    // One that it has from an earlier run it refuses to load again.
    if status.is_success() || String::from_utf8_lossy(&said).contains("already been loaded") {
        return Ok(());
    }
    let refused = failure::of_status(status, &Default::default(), &said, true);
    let cause = format!("the adapter {} is not loaded: {}", folder.display(), refused.cause);
    // What is refused once is refused for all answers.
    Err(Failure { cause, then: if refused.then == Then::Leave { Then::End } else { refused.then }, ..refused })
}
