//! A pipeline with a view that counts pairs in the trainer's place. A run that is killed goes on when it is started again.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use obvert_api::Record;
use obvert_api::record::Pair;
use obvert_engine::pipeline::parse;
use obvert_engine::registry::Entry;
use obvert_engine::{Change, Options, Registry, Settled, View};
use obvert_stages::Findings;
use serde_json::{Value, json};

use crate::library;

/// Arguments of `sysbank`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The pipeline, whose pairs go to a stage of the type `count`.
    pipeline: PathBuf,
    /// Where state and results go; a run goes on from what it finds there.
    #[arg(long)]
    out: PathBuf,
    #[arg(long, default_value_t = 2)]
    workers: usize,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Value> {
    let counted = Arc::new(Mutex::new(Count::default()));
    let registry = registry(&counted)?;
    let text = std::fs::read_to_string(&arguments.pipeline)?;
    let document = parse(&arguments.pipeline, &text, &[]).map_err(|e| anyhow::anyhow!("{e}"))?;
    let mut plan = document.resolve(&registry).map_err(|e| anyhow::anyhow!("{e}"))?;
    plan.run.workers = arguments.workers;
    let outcome = obvert_engine::run(plan, &registry, &Options::new(arguments.out.clone()), |_| ())?;
    let is_whole = outcome.stages.iter().all(|stage| stage.inputs == stage.done + stage.rejected);
    anyhow::ensure!(is_whole, "not all is accounted for");
    let of = |kind: &str| outcome.stages.iter().find(|stage| stage.kind == kind).cloned().unwrap_or_default();
    let count = counted.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(json!({
        "workers": arguments.workers, "turns": of("persona-play").outputs, "responses": of("judge").done,
        "calls": of("respond").calls, "from_memo": of("respond").memo_hits,
        "pairs": count.pairs, "checksum": format!("{:016x}", count.sum), "seconds": outcome.elapsed.as_secs_f64(),
    }))
}

fn registry(counted: &Arc<Mutex<Count>>) -> anyhow::Result<Registry> {
    let mut registry = Registry::new();
    obvert_stages::register(&mut registry, &Findings::default());
    for name in ["persona_play", "judge", "reverse", "pair"] {
        registry.add_plugin(&library(name)?)?;
    }
    let counted = Arc::clone(counted);
    let open = move |_: &Value, _: &_| Ok(Box::new(Counting(Arc::clone(&counted))) as Box<dyn View>);
    registry.add("count", Entry::view(Pair::NAME, json!({ "type": "object" }), Arc::new(open)));
    Ok(registry)
}

/// Pairs, and what tells one set of them from another whatever their order.
#[derive(Default)]
struct Count {
    pairs: i64,
    sum: u64,
}

/// The same for every run.
type Fixed = BuildHasherDefault<DefaultHasher>;

struct Counting(Arc<Mutex<Count>>);

impl View for Counting {
    fn update(&mut self, changes: Vec<Change>, _: Settled) -> Result<(), String> {
        let (mut count, hasher) = (self.0.lock().unwrap_or_else(PoisonError::into_inner), Fixed::default());
        for Change { record, diff, .. } in changes {
            count.pairs += diff as i64;
            let hash = hasher.hash_one(&record);
            count.sum = count.sum.wrapping_add(hash.wrapping_mul(diff as u64));
        }
        Ok(())
    }
}
