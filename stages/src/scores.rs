//! `scores`: the sink that turns judged answers into CSR, ISR and SSR, per model that answered.
//!
//! CSR: satisfied constraints / constraints. ISR: turns with every constraint satisfied / turns. SSR: mean over dialogues
//! of the length of the initial run of such turns / turns of the dialogue. (SysBench's definitions, as its scorer
//! executes them.) Constraints that cannot apply are left out.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use obvert_api::Record;
use obvert_api::erased::decode;
use obvert_api::record::Judged;
use obvert_engine::registry::Entry;
use obvert_engine::{Change, Registry, Settled, View};
use obvert_eval::sysbench::initial_run;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::findings::Findings;
use crate::output::report::ScoreRow;

/// `scores` has no settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {}

/// Satisfied and decided constraints of one answer.
type Answer = (u64, u64);
/// Answers by model, dialogue, turn and sample.
type Answers = BTreeMap<(String, String, u32, u32), (Answer, isize)>;

struct Scores {
    path: PathBuf,
    answers: Answers,
    findings: Findings,
}

pub(crate) fn register(registry: &mut Registry, findings: &Findings) {
    let findings = findings.clone();
    let open = move |_: &serde_json::Value, context: &obvert_engine::RunContext| {
        let path = context.folder().join("scores.json");
        Ok(Box::new(Scores { path, answers: Answers::new(), findings: findings.clone() }) as Box<dyn View>)
    };
    let entry = Entry::view(Judged::NAME, schemars::schema_for!(Settings).to_value(), Arc::new(open));
    registry.add("scores", entry);
}

impl View for Scores {
    fn accepts(&self, record: &[u8]) -> Result<(), String> {
        decode::<Judged>(record).map(drop).map_err(|e| e.0)
    }

    fn update(&mut self, changes: Vec<Change>, _: Settled) -> Result<(), String> {
        for change in changes {
            let judged: Judged = decode(&change.record).map_err(|e| e.0)?;
            let decided = judged.verdicts.iter().filter(|v| v.satisfied.is_some()).count();
            let session = &judged.response.turn.session;
            let model = session.adapter.as_ref().map_or(&judged.response.model, |adapter| &adapter.version).clone();
            let key = (model, session.dialogue.clone(), session.turn, judged.response.sample);
            let answer = (judged.score() as u64, decided as u64);
            let entry = self.answers.entry(key.clone()).or_insert((answer, 0));
            // A dialogue's new version replaces the old one within a tick: the insertion names the answer.
            if change.diff > 0 {
                entry.0 = answer;
            }
            entry.1 += change.diff;
            if entry.1 == 0 {
                self.answers.remove(&key);
            }
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), String> {
        let mut rows = scores(&self.answers);
        // The base model first.
        rows.sort_by_key(|row| (row.model != "base", row.model.clone()));
        let text = serde_json::to_vec_pretty(&rows.iter().map(json).collect::<Vec<_>>()).map_err(|e| e.to_string())?;
        crate::output::write_atomically(&self.path, &text).map_err(|e| e.to_string())?;
        self.findings.lock().scores = rows;
        Ok(())
    }
}

fn json(row: &ScoreRow) -> serde_json::Value {
    let ScoreRow { model, csr, isr, ssr, turns, constraints } = row;
    serde_json::json!({
        "model": model, "csr": csr, "isr": isr, "ssr": ssr, "turns": turns, "constraints": constraints
    })
}

fn scores(answers: &Answers) -> Vec<ScoreRow> {
    let mut dialogues: BTreeMap<&str, BTreeMap<(&str, u32), Vec<Answer>>> = BTreeMap::new();
    for ((model, dialogue, _, sample), (answer, _)) in answers {
        dialogues.entry(model).or_default().entry((dialogue, *sample)).or_default().push(*answer);
    }
    dialogues.iter().map(|(model, dialogues)| score(model, dialogues.values())).collect()
}

fn score<'a>(model: &str, dialogues: impl Iterator<Item = &'a Vec<Answer>> + Clone) -> ScoreRow {
    let perfect = |answer: &Answer| answer.0 == answer.1;
    let all = || dialogues.clone().flatten();
    let (turns, constraints) = (all().count(), all().map(|answer| answer.1).sum::<u64>());
    let runs = dialogues.clone().map(|turns| initial_run(&turns.iter().map(perfect).collect::<Vec<_>>()));
    ScoreRow {
        model: model.to_string(),
        csr: share(all().map(|answer| answer.0).sum::<u64>() as f64, constraints as f64),
        isr: share(all().filter(|answer| perfect(answer)).count() as f64, turns as f64),
        ssr: share(runs.sum(), dialogues.count() as f64),
        turns: turns as u64,
        constraints,
    }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { part / whole }
}
