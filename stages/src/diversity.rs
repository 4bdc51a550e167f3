//! `diversity`: the sink that tells how varied judged dialogues are, in `diversity.json` and the report: near-duplicates among
//! profiles and queries, and of each type of constraint how many profiles have it and how often it is satisfied.
//!
//! It keeps some 200 bytes for each profile and each turn.

mod sketch;
mod types;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use obvert_api::Record;
use obvert_api::erased::decode;
use obvert_api::record::{Judged, id_of};
use obvert_engine::registry::Entry;
use obvert_engine::{Change, Registry, RunContext, Settled, View};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::findings::Findings;
use crate::pair_set::number;
use sketch::{Sketch, near_duplicates};
use types::Types;

pub use types::TypeRow;
pub(crate) use types::name_of;

/// `diversity` has no settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {}

/// How varied dialogues are.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Diversity {
    /// Profiles, by their whole system prompts.
    pub profiles: Variety,
    /// Queries of turns.
    pub queries: Variety,
    /// One entry per type of constraint, the most frequent first.
    pub types: Vec<TypeRow>,
}

/// How varied texts are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Variety {
    /// Texts that there are.
    pub count: u64,
    /// How many of them resemble another one: of the runs of five characters that either has, both have some four fifths or more.
    pub near_duplicates: u64,
}

/// Texts by what they are of, each with how many records tell of it.
type Texts = BTreeMap<u64, (Sketch, isize)>;

struct Watched {
    path: PathBuf,
    findings: Findings,
    profiles: Texts,
    queries: Texts,
    types: Types,
}

pub(crate) fn register(registry: &mut Registry, findings: &Findings) {
    let findings = findings.clone();
    let open = move |_: &serde_json::Value, context: &RunContext| {
        let (path, findings) = (context.folder().join("diversity.json"), findings.clone());
        let (profiles, queries, types) = (Texts::new(), Texts::new(), Types::default());
        Ok(Box::new(Watched { path, findings, profiles, queries, types }) as Box<dyn View>)
    };
    let entry = Entry::view(Judged::NAME, schemars::schema_for!(Settings).to_value(), Arc::new(open));
    registry.add("diversity", entry);
}

impl View for Watched {
    fn accepts(&self, record: &[u8]) -> Result<(), String> {
        decode::<Judged>(record).map(drop).map_err(|e| e.0)
    }

    fn update(&mut self, changes: Vec<Change>, _: Settled) -> Result<(), String> {
        for change in changes {
            let judged: Judged = decode(&change.record).map_err(|e| e.0)?;
            self.take_in(&judged, change.diff);
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), String> {
        let found = self.found();
        let text = serde_json::to_vec_pretty(&found).map_err(|e| e.to_string())?;
        crate::output::write_atomically(&self.path, &text).map_err(|e| e.to_string())?;
        self.findings.lock().diversity = Some(found);
        Ok(())
    }
}

impl Watched {
    fn take_in(&mut self, judged: &Judged, diff: isize) {
        let turn = &judged.response.turn;
        let profile = &turn.session.profile;
        let before = self.profiles.len();
        let system = profile.system();
        count(&mut self.profiles, &id_of(&[&profile.id, &system]), &system, diff);
        let came = self.profiles.len() as i64 - before as i64;
        self.types.profile(profile, came);
        count(&mut self.queries, &turn.id(), &turn.query, diff);
        self.types.verdicts(judged, diff as i64);
    }

    fn found(&self) -> Diversity {
        let variety = |texts: &Texts| Variety {
            count: texts.len() as u64,
            near_duplicates: near_duplicates(texts.values().map(|(sketch, _)| sketch)),
        };
        Diversity {
            profiles: variety(&self.profiles),
            queries: variety(&self.queries),
            types: self.types.rows(self.profiles.len() as u64),
        }
    }
}

/// Counts a record about what has this id and this text; what no record tells of any more is gone.
fn count(texts: &mut Texts, id: &str, text: &str, diff: isize) {
    let key = number(id);
    let known = texts.entry(key).or_insert_with(|| (Sketch::of(text), 0));
    known.1 += diff;
    if known.1 == 0 {
        texts.remove(&key);
    }
}
