//! `pairs`: the sink that keeps `pairs/` equal to the current set of pairs, in every format.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use obvert_api::Record;
use obvert_api::erased::decode;
use obvert_api::record::Pair;
use obvert_engine::registry::{Body, Entry};
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
        let folder = context.out.join("pairs");
        Ok(Box::new(Pairs { folder, current: BTreeMap::new(), findings: findings.clone() }) as Box<dyn View>)
    };
    let entry = Entry {
        body: Body::View(Arc::new(open)),
        input: Some(Pair::NAME.into()),
        with: None,
        output: None,
        schema: schemars::schema_for!(Settings).to_value(),
        closes_loop: false,
        admits: false,
        origin: "built in".into(),
    };
    registry.add("pairs", entry);
}

impl View for Pairs {
    fn update(&mut self, changes: Vec<Change>, _: Settled) -> Result<(), String> {
        for change in changes {
            let pair: Pair = decode(&change.record).map_err(|e| e.0)?;
            let key = (change.root, pair.id.clone());
            let (_, copies) = self.current.entry(key.clone()).or_insert((pair, 0));
            *copies += change.diff;
            if *copies == 0 {
                self.current.remove(&key);
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), String> {
        let pairs: Vec<Pair> = self.current.values().map(|(pair, _)| pair.clone()).collect();
        output::write_all(&self.folder, &pairs).map_err(|e| e.to_string())?;
        let mut found = self.findings.lock();
        found.pairs = output::summary(&pairs);
        found.example =
            pairs.into_iter().max_by_key(|pair| (pair.case != 6, pair.g.min(4), std::cmp::Reverse(pair.turn)));
        Ok(())
    }
}
