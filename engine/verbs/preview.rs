//! `preview`: a few rows of every source through the whole pipeline, and what each stage makes of them. Nothing is written by sinks, and
//! nothing is trained.

use std::path::{Path, PathBuf};

use obvert_engine::pipeline::Plan;
use obvert_engine::{Options, Registry};
use serde_json::{Map, Value, json};

use super::Reading;
use super::tapped::{self, Tapped, Training};

/// Arguments of `preview`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The pipeline file.
    #[arg(default_value = super::PIPELINE)]
    pipeline: PathBuf,
    #[command(flatten)]
    reading: Reading,
    /// Rows of each source.
    #[arg(short = 'n', long, default_value_t = 3)]
    rows: u64,
    /// Print one line of JSON: an object of the records of each stage, and `rejected`.
    #[arg(long)]
    json: bool,
}

/// Shows it.
pub fn preview(arguments: &Arguments) -> anyhow::Result<()> {
    let (mut plan, registry) = arguments.reading.plan(&arguments.pipeline)?;
    limit(&mut plan, &registry, arguments.rows, |_| true);
    // Another preview does not pay for the calls of this one.
    let out = Path::new("runs").join(&plan.name).join("preview");
    std::fs::create_dir_all(&out)?;
    let tapped = tapped::run(&plan, &registry, &Options::new(out), Training::None)?;
    if arguments.json {
        print_json(tapped)
    } else {
        print(&plan, &tapped)
    }
    Ok(())
}

/// Has none of some sources read more rows than so many.
pub(super) fn limit(plan: &mut Plan, registry: &Registry, rows: u64, some: impl Fn(usize) -> bool) {
    let sources = plan.stages.iter_mut().enumerate().filter(|(at, stage)| stage.from.is_empty() && some(*at));
    for (_, stage) in sources {
        let limits = registry.entry(&stage.kind).is_some_and(|entry| entry.schema["properties"].get("limit").is_some());
        if limits {
            let before = stage.settings["limit"].as_u64().unwrap_or(u64::MAX);
            stage.settings["limit"] = json!(before.min(rows));
        }
    }
}

fn print_json(tapped: Tapped) {
    let mut all: Map<String, Value> =
        tapped.records.into_iter().map(|(name, rows)| (name, Value::Array(rows))).collect();
    let row = |(stage, reason, item)| json!({ "stage": stage, "reason": reason, "item": item });
    all.insert("rejected".into(), tapped.rejected.into_iter().map(row).collect());
    println!("{}", Value::Object(all));
}

fn print(plan: &Plan, tapped: &Tapped) {
    for (name, rows) in &tapped.records {
        let kind = plan.stages.iter().find(|stage| stage.name == *name).map(|stage| stage.kind.as_str());
        println!("{name} ({}): {} records", kind.unwrap_or_default(), rows.len());
        rows.iter().for_each(|row| println!("  {row}"));
        for (_, reason, item) in tapped.rejected.iter().filter(|(stage, _, _)| stage == name) {
            println!("  set aside: {reason}\n    {item}");
        }
    }
    let calls: u64 = tapped.outcome.stages.iter().map(|stage| stage.calls).sum();
    println!("\n{calls} calls were made");
}
