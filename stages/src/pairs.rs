//! `pairs`: the sink that keeps `pairs/` equal to the current set of pairs, in every format.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use obvert_api::Record;
use obvert_api::erased::decode;
use obvert_api::record::Pair;
use obvert_engine::registry::Entry;
use obvert_engine::{Change, Registry, Settled, View};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::findings::Findings;
use crate::output;

/// `pairs` has no settings: it writes every format.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {}

struct Pairs {
    folder: PathBuf,
    current: BTreeMap<(u64, String), (Pair, isize)>,
    findings: Findings,
}

pub(crate) fn register(registry: &mut Registry, findings: &Findings) {
    let findings = findings.clone();
    let open = move |_: &serde_json::Value, context: &obvert_engine::RunContext| {
        let folder = context.folder().join("pairs");
        Ok(Box::new(Pairs { folder, current: BTreeMap::new(), findings: findings.clone() }) as Box<dyn View>)
    };
    let entry = Entry::view(Pair::NAME, schemars::schema_for!(Settings).to_value(), Arc::new(open));
    registry.add("pairs", entry);
}

impl View for Pairs {
    fn accepts(&self, record: &[u8]) -> Result<(), String> {
        decode::<Pair>(record).map(drop).map_err(|e| e.0)
    }

    fn update(&mut self, changes: Vec<Change>, _: Settled) -> Result<(), String> {
        for change in changes {
            let pair: Pair = decode(&change.record).map_err(|e| e.0)?;
            let key = (change.root, pair.id.clone());
            let (held, copies) = self.current.entry(key.clone()).or_insert_with(|| (pair.clone(), 0));
            // A new version of a pair may come before its old one goes, under the same id.
            if change.diff > 0 {
                *held = pair;
            }
            *copies += change.diff;
            if *copies == 0 {
                self.current.remove(&key);
            }
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), String> {
        let pairs: Vec<Pair> = self.current.values().map(|(pair, _)| pair.clone()).collect();
        output::write_all(&self.folder, &pairs).map_err(|e| e.to_string())?;
        let mut found = self.findings.lock();
        found.pairs = output::summary(&pairs);
        found.example =
            pairs.into_iter().max_by_key(|pair| (pair.case != 6, pair.g.min(4), std::cmp::Reverse(pair.turn)));
        Ok(())
    }
}
