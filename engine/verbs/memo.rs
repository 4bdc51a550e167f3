//! `memo`: what a run's memo of model calls holds, and what of it is to be forgotten.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::{Span, SpanRelativeTo, Unit};
use obvert_engine::memo::{Memo, Origin, gather, now};

use super::Refused;
use super::explain::time;
use super::top::folder;

/// Arguments of `memo`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Folder of the results; by default that of the run in `runs` that was heard of last.
    folder: Option<PathBuf>,
    /// Only calls that are older than this: 30d, 12h.
    #[arg(long)]
    older_than: Option<String>,
    /// Only calls of this pipeline.
    #[arg(long)]
    pipeline: Option<String>,
    /// Only calls of this stage.
    #[arg(long)]
    stage: Option<String>,
    /// Only calls of this model.
    #[arg(long)]
    model: Option<String>,
    /// Forget them: a run that needs them again pays again.
    #[arg(long)]
    prune: bool,
}

/// One row of the table.
struct Row {
    calls: u64,
    bytes: u64,
    oldest: u64,
    newest: u64,
}

/// Shows a memo, or prunes it.
pub fn memo(arguments: &Arguments) -> anyhow::Result<()> {
    let out = folder(arguments.folder.as_deref())?;
    let state = out.join("state");
    let path = state.join("memo");
    anyhow::ensure!(path.is_dir(), Refused(format!("error: {}: no run has been here", out.display())));
    let failed = |cause: String| anyhow::anyhow!("{}: {cause}", path.display());
    let _held = gather(&state).map_err(failed)?;
    let memo = Memo::open(&path).map_err(failed)?;
    let before = before(arguments)?;
    let wanted = |origin: &Origin| {
        let is = |filter: &Option<String>, value: &str| filter.as_deref().is_none_or(|filter| filter == value);
        before.is_none_or(|before| origin.made < before)
            && is(&arguments.pipeline, &origin.pipeline)
            && is(&arguments.stage, &origin.stage)
            && is(&arguments.model, &origin.model)
    };
    if arguments.prune {
        let forgotten = memo.prune(wanted).map_err(failed)?;
        println!("{forgotten} calls are forgotten");
    }
    let mut rows: BTreeMap<[String; 3], Row> = BTreeMap::new();
    memo.scan(|_, entry, bytes| {
        if !wanted(&entry.origin) {
            return;
        }
        let Origin { pipeline, stage, model, made } = entry.origin;
        let row =
            rows.entry([pipeline, stage, model]).or_insert(Row { calls: 0, bytes: 0, oldest: made, newest: made });
        (row.calls, row.bytes) = (row.calls + 1, row.bytes + bytes);
        (row.oldest, row.newest) = (row.oldest.min(made), row.newest.max(made));
    })
    .map_err(failed)?;
    print(&rows);
    println!("{} on disk in {}", size(memo.disk_space().map_err(failed)?), path.display());
    Ok(())
}

/// The Unix time before which calls are old.
fn before(arguments: &Arguments) -> anyhow::Result<Option<u64>> {
    let Some(age) = &arguments.older_than else { return Ok(None) };
    let refused = |e: jiff::Error| Refused(format!("error: --older-than {age}: {e}"));
    let span: Span = age.parse().map_err(refused)?;
    let relative = SpanRelativeTo::days_are_24_hours();
    let seconds = span.total((Unit::Second, relative)).map_err(refused)?;
    Ok(Some(now().saturating_sub(seconds.max(0.0) as u64)))
}

fn print(rows: &BTreeMap<[String; 3], Row>) {
    println!(
        "{:<16} {:<16} {:<16} {:>9} {:>10} {:>17} {:>17}",
        "pipeline", "stage", "model", "calls", "size", "oldest", "newest"
    );
    for ([pipeline, stage, model], Row { calls, bytes, oldest, newest }) in rows {
        let (size, oldest, newest) = (size(*bytes), time(*oldest), time(*newest));
        println!("{pipeline:<16} {stage:<16} {model:<16} {calls:>9} {size:>10} {oldest:>17} {newest:>17}");
    }
}

/// Bytes as people read them.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
