//! Calls of equal length, and the same with one in 4,096 that takes 2 s.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use obvert_api::{Reply, Request};
use obvert_engine::Registry;
use obvert_engine::model::{Failure, Model};
use obvert_stages::Findings;
use serde_json::{Value, json};

use crate::asked::asked;

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
    let mut registry = Registry::new();
    obvert_stages::register(&mut registry, &Findings::default());
    let model = Uneven { calls: AtomicU64::new(0), each: Duration::from_millis(arguments.call_ms), straggles };
    let model: Arc<dyn Model> = Arc::new(model);
    let any = json!({ "type": "object" });
    registry.add_model("uneven", any, Arc::new(|_| Ok(())), Arc::new(move |_| Ok(Arc::clone(&model))));
    let table = format!("kind = \"uneven\"\nmax_in_flight = {}", arguments.max_in_flight);
    Ok(asked(arguments.items, &table, &mut registry)?.elapsed.as_secs_f64())
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
