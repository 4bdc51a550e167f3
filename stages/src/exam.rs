//! `exam`: sends every session through once per adapter, so that adapters can be compared on the same dialogues.

use std::collections::HashSet;

use obvert_api::record::{Adapter, Session};
use obvert_api::{Error, Group, Output, Reply};
use schemars::JsonSchema;
use serde::Deserialize;

/// `exam` has no settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exam {}

impl Group for Exam {
    const NAME: &'static str = "exam";
    type In = Session;
    type With = Adapter;
    type Out = Session;
    const WITHIN_ROW: bool = true;

    fn key(&self, session: &Session) -> String {
        session.dialogue.clone()
    }

    fn looks_up(&self, _: &Session) -> Option<String> {
        Some(String::new())
    }

    fn group(
        &self,
        _: &str,
        sessions: Vec<Session>,
        mut adapters: Vec<Adapter>,
        _: &[Reply],
        out: &mut Output<Session>,
    ) -> Result<(), Error> {
        // Every training begins with the same base.
        let mut known = HashSet::new();
        adapters.retain(|adapter| known.insert(adapter.version.clone()));
        for session in sessions {
            for adapter in &adapters {
                out.emit(Session { adapter: Some(adapter.clone()), ..session.clone() });
            }
        }
        Ok(())
    }
}
