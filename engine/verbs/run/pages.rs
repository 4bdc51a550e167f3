//! The pages that explain a run: `report.html` and the card of the pairs.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use obvert_engine::model::ByStage;
use obvert_engine::pipeline::Plan;
use obvert_engine::{Outcome, StageCount};
use obvert_eval::table::Table;
use obvert_stages::output::card::{self, CardFacts};
use obvert_stages::output::model_card::{self, ModelFacts};
use obvert_stages::output::report::{self, ModelUse, ReportFacts};
use obvert_stages::{Findings, Found, SetOfPairs, Trained, trained};

use super::renewed::Place;

/// What the pages are about.
pub(super) struct Pages<'a> {
    pub(super) plan: &'a Plan,
    pub(super) place: &'a Place,
    pub(super) text: &'a str,
    pub(super) out: &'a Path,
    pub(super) outcome: &'a Outcome,
    pub(super) findings: &'a Findings,
    /// Of several runs, by the stage that scores.
    pub(super) tables: BTreeMap<String, Table>,
    /// What a reader must know of all the page.
    pub(super) note: Option<String>,
}

impl Pages<'_> {
    /// Writes them.
    pub(super) fn write(&self) -> anyhow::Result<()> {
        let found = self.findings.lock();
        report::write(&self.out.join("report.html"), &self.report(&found)).context("report.html")?;
        for set in found.pairs.values().filter(|set| set.folder.is_dir()) {
            card::write(&set.folder, &self.card(set)).context("the card of the pairs")?;
        }
        for adapter in trained(self.plan) {
            let folder = self.out.join(&adapter.folder);
            if folder.is_dir() {
                model_card::write(&folder, &self.model_card(&found, adapter)).context("the card of an adapter")?;
            }
        }
        Ok(())
    }

    fn report(&self, found: &Found) -> ReportFacts {
        ReportFacts {
            name: self.plan.name.clone(),
            date: jiff::Zoned::now().strftime("%Y-%m-%d %H:%M").to_string(),
            elapsed: self.outcome.elapsed.as_secs_f64(),
            pipeline: self.text.to_string(),
            stages: self.outcome.stages.iter().map(stage).collect(),
            pairs: found.pairs.clone(),
            metrics: found.metrics.clone(),
            trainings: found.trainings.clone(),
            scores: found.scores.iter().map(|(stage, of)| (stage.clone(), of.rows.clone())).collect(),
            tables: self.tables.clone(),
            note: self.note.clone(),
            benchmarks: found.benchmarks.clone(),
            diversity: found.diversity.clone(),
            models: self.outcome.models.iter().flat_map(|(name, stages)| uses(name, stages)).collect(),
        }
    }

    fn card(&self, set: &SetOfPairs) -> CardFacts {
        CardFacts {
            name: self.plan.name.clone(),
            terms: set.terms.clone(),
            parquet: "pairs.parquet".into(),
            jsonl: "pairs.jsonl".into(),
            pairs: set.summary.clone(),
            sample: set.examples.first().cloned(),
            pipeline_file: self.file(),
            pipeline: self.text.to_string(),
            lock: vec![("obvert".into(), env!("CARGO_PKG_VERSION").into())],
            rerun: self.place.command(),
        }
    }

    fn model_card(&self, found: &Found, adapter: Trained) -> ModelFacts {
        let Trained { stage, folder, base_model, settings } = adapter;
        let alone = folder.components().count() == 1;
        let name = &self.plan.name;
        ModelFacts {
            name: if alone { name.clone() } else { format!("{name}: {stage}") },
            base_model,
            settings,
            counts: found.trainings.get(&stage).cloned(),
            metrics: found.metrics.get(&stage).cloned().unwrap_or_default(),
            adapter: Path::new("RUN").join(&folder).display().to_string(),
            rerun: self.place.command(),
            pipeline: Some((self.file(), self.text.to_string())),
        }
    }

    fn file(&self) -> String {
        self.place.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

fn stage(stage: &StageCount) -> report::StageCount {
    let count = |value: i64| u64::try_from(value).unwrap_or_default();
    report::StageCount {
        name: stage.name.clone(),
        kind: stage.kind.clone(),
        inputs: count(stage.inputs),
        handled: count(stage.done),
        rejected: count(stage.rejected),
        outputs: count(stage.outputs),
        calls: stage.calls + stage.memo_hits,
        memo_hits: stage.memo_hits,
    }
}

fn uses(name: &str, stages: &ByStage) -> impl Iterator<Item = ModelUse> {
    stages.iter().map(move |(stage, usage)| ModelUse {
        model: name.to_string(),
        stage: stage.to_string(),
        calls: usage.calls + usage.memo_hits,
        memo_hits: usage.memo_hits,
        prompt_tokens: usage.prompt_tokens,
        completion_tokens: usage.reply_tokens,
        failures: usage.failures,
        cost: usage.cost,
        seconds: usage.time.as_secs_f64(),
    })
}
