//! Calls of equal length, and the same with one in 4,096 that takes 2 s.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use obvert_api::{Reply, Request};
use obvert_engine::model::{Failure, Model};
use obvert_engine::pipeline::parse;
use obvert_engine::registry::Entry;
use obvert_engine::{Change, Options, Registry, Settled, View};
use obvert_stages::Findings;
use serde_json::{Value, json};

use crate::library;

/// Arguments of `straggler`.
#[derive(clap::Args)]
pub struct Arguments {
    #[arg(long, default_value_t = 81_920)]
    items: u64,
    /// Milliseconds of an ordinary call.
    #[arg(long, default_value_t = 10)]
    call_ms: u64,
    #[arg(long, default_value_t = 32)]
    max_in_flight: usize,
}

/// One call in so many is a straggler, which takes so long.
const EVERY: u64 = 4_096;
const STRAGGLES: Duration = Duration::from_secs(2);

pub fn run(arguments: &Arguments) -> anyhow::Result<Value> {
    let (even, uneven) = (pass(arguments, Duration::ZERO)?, pass(arguments, STRAGGLES)?);
    Ok(json!({
        "part": "straggler", "items": arguments.items, "call_ms": arguments.call_ms,
        "max_in_flight": arguments.max_in_flight, "seconds_without": even, "seconds_with": uneven,
        "throughput_lost": 1.0 - even / uneven,
    }))
}

fn pass(arguments: &Arguments, straggles: Duration) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let rows = folder.path().join("rows.jsonl");
    let row = |id: u64| json!({ "id": id.to_string(), "key": id.to_string(), "value": 7 }).to_string() + "\n";
    std::fs::write(&rows, (0..arguments.items).map(row).collect::<String>())?;
    let text = format!(
        "name = \"straggler\"\n[model.m]\nkind = \"uneven\"\nmax_in_flight = {}\n[stage.rows]\ntype = \"rows\"\npath = {rows:?}\n\
         [stage.ask]\ntype = \"toy-ask\"\nfrom = \"rows\"\nmodel = \"m\"\n[stage.out]\ntype = \"nothing\"\nfrom = \"ask\"\n",
        arguments.max_in_flight
    );
    let mut registry = Registry::new();
    obvert_stages::register(&mut registry, &Findings::default());
    registry.add_plugin(&library("toys")?)?;
    let any = json!({ "type": "object" });
    let model = Uneven { calls: AtomicU64::new(0), each: Duration::from_millis(arguments.call_ms), straggles };
    let model: Arc<dyn Model> = Arc::new(model);
    registry.add_model("uneven", any.clone(), Arc::new(|_| Ok(())), Arc::new(move |_| Ok(Arc::clone(&model))));
    registry.add("nothing", Entry::view("*", any, Arc::new(|_, _| Ok(Box::new(Nothing)))));
    let document = parse(&folder.path().join("straggler.toml"), &text, &[]).map_err(|e| anyhow::anyhow!("{e}"))?;
    let plan = document.resolve(&registry).map_err(|e| anyhow::anyhow!("{e}"))?;
    let outcome = obvert_engine::run(plan, &registry, &Options::new(folder.path().join("out")), |_| ())?;
    anyhow::ensure!(outcome.stages[1].done == arguments.items as i64, "not all items were handled");
    Ok(outcome.elapsed.as_secs_f64())
}

/// A model whose calls take the same time, but for one in [`EVERY`].
struct Uneven {
    calls: AtomicU64,
    each: Duration,
    straggles: Duration,
}

impl Model for Uneven {
    fn identity(&self) -> String {
        "uneven".into()
    }

    fn lanes(&self) -> usize {
        1024
    }

    fn call(&self, requests: &[Request], _: Option<Duration>) -> Vec<Result<Reply, Failure>> {
        let number = self.calls.fetch_add(1, Relaxed);
        std::thread::sleep(if number % EVERY == EVERY / 2 { self.each.max(self.straggles) } else { self.each });
        let reply = Reply { text: "yes".into(), prompt_tokens: 1, reply_tokens: 1, finished: true };
        requests.iter().map(|_| Ok(reply.clone())).collect()
    }
}

struct Nothing;

impl View for Nothing {
    fn update(&mut self, _: Vec<Change>, _: Settled) -> Result<(), String> {
        Ok(())
    }
}
