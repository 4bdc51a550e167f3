//! `doctor`: looks whether a pipeline's models are there, and what they can do, by asking them.

use std::path::Path;

use obvert_engine::model::{Finding, Grade};
use obvert_stages::Findings;

use super::Trust;

/// Looks at all models of a pipeline; fails if one would fail a run.
pub fn doctor(pipeline: &Path, set: &[String]) -> anyhow::Result<()> {
    let (_, plan, registry) = super::plan(pipeline, set, &Findings::default(), Trust::Named)?;
    let mut bad = 0;
    for model in &plan.models {
        println!("{} ({})", model.name, model.kind);
        let opened = registry.open_model(&model.name, &model.kind, &model.settings);
        let found = match opened.map(|model| model.probe()) {
            Ok(found) if found.is_empty() => vec![Finding::good("is there".into())],
            Ok(found) => found,
            Err(error) => vec![Finding::bad(error.to_string())],
        };
        bad += found.iter().filter(|finding| finding.grade == Grade::Bad).count();
        found.iter().for_each(|finding| println!("  {:<4} {}", mark(finding.grade), finding.text));
    }
    anyhow::ensure!(bad == 0, "{bad} findings would keep a run from its work");
    Ok(())
}

fn mark(grade: Grade) -> &'static str {
    match grade {
        Grade::Good => "ok",
        Grade::Poor => "note",
        Grade::Bad => "BAD",
    }
}
