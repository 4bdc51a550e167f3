//! A source, a stage, and a view that takes a hundred times as long for a record as the source does.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use obvert_api::Record;
use obvert_engine::pipeline::parse;
use obvert_engine::registry::Entry;
use obvert_engine::{Change, Options, Outcome, Poll, Registry, Settled, View, Waker};
use obvert_stages::Findings;
use obvert_stream_stages::Note;
use serde_json::{Value, json};

use crate::generated::Generated;
use crate::memory::Watch;

/// Arguments of `bounded`.
#[derive(clap::Args)]
pub struct Arguments {
    #[arg(long, default_value_t = 200_000)]
    rows: u64,
    /// Bytes of a record.
    #[arg(long, default_value_t = 16 << 10)]
    bytes: usize,
    /// How many times as long as the source the view takes for a record.
    #[arg(long, default_value_t = 100.0)]
    slower: f64,
    #[arg(long, default_value_t = 1)]
    workers: usize,
}

const PIPELINE: &str = r#"
name = "bounded"

[stage.notes]
type = "generated"

[stage.lower]
type = "note-lower"
from = "notes"

[stage.slow]
type = "slow"
from = "lower"
"#;

/// Rows that the source is timed with.
const SAMPLE: u64 = 20_000;

pub fn run(arguments: &Arguments) -> anyhow::Result<Value> {
    let alone = Instant::now();
    pass(arguments, SAMPLE.min(arguments.rows), Duration::ZERO)?;
    let source = alone.elapsed() / SAMPLE.min(arguments.rows) as u32;
    let slow = source.mul_f64(arguments.slower);
    let memory = Watch::start();
    let (outcome, spent) = pass(arguments, arguments.rows, slow)?;
    let quarters = memory.quarters();
    let rows = &outcome.stages[0];
    let seconds = outcome.elapsed.as_secs_f64();
    Ok(json!({
        "part": "bounded", "rows": arguments.rows, "bytes": arguments.bytes, "workers": arguments.workers,
        "source_us_per_row": source.as_secs_f64() * 1e6, "view_us_per_row": slow.as_secs_f64() * 1e6,
        "seconds": seconds, "rate_of_the_view": spent.as_secs_f64() / seconds,
        "most_outstanding_records": rows.most_records, "most_outstanding_bytes": rows.most_bytes,
        "peak_mb_by_quarter": quarters, "last_to_first_quarter": quarters[quarters.len() - 1] / quarters[0],
    }))
}

/// The run, and the time that the view was at work.
fn pass(arguments: &Arguments, rows: u64, slow: Duration) -> anyhow::Result<(Outcome, Duration)> {
    let mut registry = Registry::new();
    obvert_stages::register(&mut registry, &Findings::default());
    for stage in obvert_stream_stages::stages() {
        registry.add_linked(stage);
    }
    registry.add("generated", Generated { rows, bytes: arguments.bytes }.entry());
    let spent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&spent);
    let open = move |_: &Value, _: &_| Ok(Box::new(Slow::new(slow, Arc::clone(&counted))) as Box<dyn View>);
    registry.add("slow", Entry::view(Note::NAME, json!({ "type": "object" }), Arc::new(open)));
    let document = parse(std::path::Path::new("bounded.toml"), PIPELINE, &[]).map_err(|e| anyhow::anyhow!("{e}"))?;
    let mut plan = document.resolve(&registry).map_err(|e| anyhow::anyhow!("{e}"))?;
    plan.run.workers = arguments.workers;
    let folder = tempfile::tempdir()?;
    let outcome = obvert_engine::run(plan, &registry, &Options::new(folder.path().to_path_buf()), |_| ())?;
    Ok((outcome, Duration::from_nanos(spent.load(Relaxed))))
}

/// A view with a thread that takes its time for each record, as a trainer does.
struct Slow {
    each: Duration,
    spent: Arc<AtomicU64>,
    to: Option<Sender<u64>>,
    told: Vec<u64>,
    done: Option<Mutex<Receiver<u64>>>,
    waiting: usize,
}

impl Slow {
    fn new(each: Duration, spent: Arc<AtomicU64>) -> Self {
        Slow { each, spent, to: None, told: Vec::new(), done: None, waiting: 0 }
    }
}

impl View for Slow {
    fn start(&mut self, waker: Waker) {
        let ((to, told), (done_to, done)) = (channel::<u64>(), channel());
        let (each, spent) = (self.each, Arc::clone(&self.spent));
        std::thread::spawn(move || {
            for root in told {
                let begin = Instant::now();
                // Sleeping is too coarse for short times.
                while begin.elapsed() < each {
                    if each.saturating_sub(begin.elapsed()) > Duration::from_micros(200) {
                        std::thread::sleep(Duration::from_micros(100));
                    }
                }
                spent.fetch_add(begin.elapsed().as_nanos() as u64, Relaxed);
                if done_to.send(root).is_err() {
                    return;
                }
                waker.wake();
            }
        });
        (self.to, self.done) = (Some(to), Some(Mutex::new(done)));
    }

    fn update(&mut self, changes: Vec<Change>, _: Settled) -> Result<(), String> {
        for change in changes {
            self.told.push(change.root);
            self.waiting += 1;
            self.to.as_ref().and_then(|to| to.send(change.root).ok()).ok_or("the thread is gone")?;
        }
        Ok(())
    }

    fn poll(&mut self) -> Result<Poll, String> {
        let mut work: Vec<_> = self.told.drain(..).map(|root| (root, 1)).collect();
        if let Some(done) = &self.done {
            let done = done.lock().unwrap_or_else(PoisonError::into_inner);
            work.extend(done.try_iter().map(|root| (root, -1)));
        }
        self.waiting -= work.iter().filter(|(_, diff)| *diff < 0).count();
        Ok(Poll { work, busy: self.waiting > 0, ..Poll::default() })
    }
}
