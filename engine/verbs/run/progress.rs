//! What is going on while a pipeline runs: a bar per stage on a terminal, else a line every few seconds, or an event of each stage.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use obvert_engine::{Progress, StageCount};

use crate::verbs::said::{PROGRESS, Said};

/// Between two looks at the figures.
const EVERY: Duration = Duration::from_millis(100);
/// Between two lines where there is no terminal.
const LINES: Duration = Duration::from_secs(2);

/// A display on a thread of its own.
#[derive(Default)]
pub(super) struct Display {
    done: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Display {
    /// Shows the figures until the end.
    pub(super) fn show(&self, progress: Progress, said: Said) {
        let done = Arc::clone(&self.done);
        let shows: fn(&Progress, &AtomicBool) = match said {
            Said::Quiet => return,
            Said::Json => |progress, done| now_and_then(progress, done, |_, stages| events(stages)),
            Said::Text if std::io::stderr().is_terminal() => bars,
            Said::Text => lines,
        };
        let thread = std::thread::spawn(move || shows(&progress, &done));
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
    }

    /// Takes the display away.
    pub(super) fn end(&self) {
        self.done.store(true, Relaxed);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A display that panicked is gone already.
        let _ = thread.map(JoinHandle::join);
    }
}

/// Says something every few seconds.
fn now_and_then(progress: &Progress, done: &AtomicBool, mut say: impl FnMut(Duration, &[StageCount])) {
    let (begin, mut shown) = (Instant::now(), Duration::ZERO);
    while !done.load(Relaxed) {
        std::thread::sleep(EVERY);
        if begin.elapsed() >= shown + LINES {
            shown = begin.elapsed();
            say(shown, &progress.stages());
        }
    }
}

/// A line whenever there is something new in it.
fn lines(progress: &Progress, done: &AtomicBool) {
    let mut before = String::new();
    now_and_then(progress, done, |at, stages| {
        let new = line(stages);
        if new != before {
            // Whoever reads it may have gone.
            let _ = writeln!(std::io::stderr(), "{:>4}s  {new}", at.as_secs());
            before = new;
        }
    });
}

/// An event for each stage that has begun.
fn events(stages: &[StageCount]) {
    for stage in stages.iter().filter(|stage| stage.inputs > 0) {
        let StageCount { name, inputs, done, rejected, outputs, calls, memo_hits, .. } = stage;
        tracing::info!(target: PROGRESS, stage = name, inputs, done, rejected, records = outputs, calls, memo = memo_hits);
    }
}

/// `stage in>out`, and what was rejected, for all stages that have begun.
fn line(stages: &[StageCount]) -> String {
    let one = |stage: &StageCount| {
        let rejected = if stage.rejected > 0 { format!(" -{}", stage.rejected) } else { String::new() };
        format!("{} {}>{}{rejected}", stage.name, stage.inputs, stage.outputs)
    };
    stages.iter().filter(|stage| stage.inputs > 0).map(one).collect::<Vec<_>>().join("  ")
}

fn bars(progress: &Progress, done: &AtomicBool) {
    let all = MultiProgress::new();
    let width = progress.stages().iter().map(|stage| stage.name.len()).max().unwrap_or_default();
    let style = ProgressStyle::with_template("{prefix} {bar:24} {pos:>6}/{len:<6} {msg}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸ ");
    let bar = |stage: &StageCount| {
        all.add(ProgressBar::new(0).with_style(style.clone()).with_prefix(format!("{:>width$}", stage.name)))
    };
    let bars: Vec<ProgressBar> = progress.stages().iter().map(bar).collect();
    while !done.load(Relaxed) {
        std::thread::sleep(EVERY);
        bars.iter().zip(progress.stages()).for_each(|(bar, stage)| update(bar, &stage));
    }
    // Ignored: the terminal may be gone by now.
    let _ = all.clear();
}

fn update(bar: &ProgressBar, stage: &StageCount) {
    let count = |value: i64| u64::try_from(value).unwrap_or_default();
    bar.set_length(count(stage.inputs));
    bar.set_position(count(stage.done + stage.rejected));
    let mut parts = vec![format!("{} records", stage.outputs)];
    parts.extend((stage.calls > 0).then(|| format!("{} calls", stage.calls)));
    parts.extend((stage.memo_hits > 0).then(|| format!("{} from the memo", stage.memo_hits)));
    parts.extend((stage.rejected > 0).then(|| format!("{} rejected", stage.rejected)));
    bar.set_message(parts.join(", "));
}
