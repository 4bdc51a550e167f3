//! `scores`: the sink that turns judged answers into CSR, ISR and SSR, per model that answered, in all and in parts.
//!
//! Constraints that cannot apply are left out.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use obvert_api::Record;
use obvert_api::erased::decode;
use obvert_api::record::Judged;
use obvert_engine::registry::Entry;
use obvert_engine::{Change, Registry, RunContext, Settled, View};
use obvert_eval::adherence::{self, Answer};
use obvert_eval::table::Row;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::diversity::name_of;
use crate::findings::{Examined, Findings};
use crate::method::{Methods, method_of};

/// Settings of `scores`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The setting of a grid over which a stage `choose` has chosen, the last one of it: a method has then one model.
    over: Option<String>,
    /// The method that the others are held against in tables.
    against: Option<String>,
}

/// Answers by model, dialogue and sample, turn by turn.
type Answers = BTreeMap<(String, String, u32), BTreeMap<u32, (Answer, isize)>>;

struct Scores {
    path: PathBuf,
    stage: String,
    methods: Methods,
    against: Option<String>,
    answers: Answers,
    findings: Findings,
}

pub(crate) fn register(registry: &mut Registry, findings: &Findings) {
    let findings = findings.clone();
    let open = move |settings: &serde_json::Value, context: &RunContext| {
        let Settings { over, against } = Settings::deserialize(settings).map_err(|e| e.to_string())?;
        let methods = Methods::of(&context.plan, over);
        let (path, stage) = (context.folder().join("scores.json"), context.stage.clone());
        let (answers, findings) = (Answers::new(), findings.clone());
        Ok(Box::new(Scores { path, stage, methods, against, answers, findings }) as Box<dyn View>)
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
            self.count(&judged, change.diff);
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), String> {
        let rows = self.rows();
        let text = serde_json::to_vec_pretty(&rows).map_err(|e| e.to_string())?;
        crate::output::write_atomically(&self.path, &text).map_err(|e| e.to_string())?;
        let examined = Examined { rows, against: self.against.clone() };
        self.findings.lock().scores.insert(self.stage.clone(), examined);
        Ok(())
    }
}

impl Scores {
    /// Counts an answer that came (1) or went (−1).
    fn count(&mut self, judged: &Judged, diff: isize) {
        let session = &judged.response.turn.session;
        let model = session.adapter.as_ref().map_or(&judged.response.model, |adapter| &adapter.version).clone();
        let key = (model, session.dialogue.clone(), judged.response.sample);
        let turns = self.answers.entry(key.clone()).or_default();
        let entry = turns.entry(session.turn).or_default();
        // A dialogue's new version replaces the old one within a tick: the insertion names the answer.
        if diff > 0 {
            entry.0 = answer(judged);
        }
        entry.1 += diff;
        if entry.1 == 0 {
            turns.remove(&session.turn);
        }
        if turns.is_empty() {
            self.answers.remove(&key);
        }
    }

    /// One for each model, in the order in which the plan trains them, the base model first.
    fn rows(&self) -> Vec<Row> {
        let mut models: BTreeMap<&str, Vec<Dialogue>> = BTreeMap::new();
        for ((model, ..), turns) in &self.answers {
            let turns = turns.iter().map(|(turn, (answer, _))| (*turn, answer.clone()));
            models.entry(model).or_default().push(turns.collect());
        }
        let row = |(model, dialogues): (&str, Vec<Dialogue>)| Row {
            model: model.to_owned(),
            method: self.methods.method(model).to_owned(),
            scores: scored(dialogues),
        };
        let mut rows: Vec<Row> = models.into_iter().map(row).collect();
        name_apart(&mut rows);
        rows.sort_by_key(|row| self.methods.rank(&row.model));
        rows
    }
}

/// Where nothing was chosen, models of one method go by their stages.
fn name_apart(rows: &mut [Row]) {
    let methods: Vec<String> = rows.iter().map(|row| row.method.clone()).collect();
    for row in rows {
        if methods.iter().filter(|method| **method == row.method).count() > 1 {
            row.method = method_of(&row.model, None).to_owned();
        }
    }
}

/// A dialogue's answers, by the index of their turn.
pub(crate) type Dialogue = BTreeMap<u32, Answer>;

/// The scores of dialogues.
pub(crate) fn scored(dialogues: impl IntoIterator<Item = Dialogue>) -> adherence::Scores {
    let turns = |dialogue: Dialogue| dialogue.into_iter().map(|(turn, answer)| (u64::from(turn) + 1, answer)).collect();
    let dialogues: Vec<Vec<_>> = dialogues.into_iter().map(turns).collect();
    adherence::scores(dialogues.iter().map(Vec::as_slice))
}

/// The verdicts that decide something, with the type of each constraint.
pub(crate) fn answer(judged: &Judged) -> Answer {
    let profile = &judged.response.turn.session.profile;
    // Instructions of benchmarks are no part of the profile; they have their type in their id, behind their place.
    let of_benchmark = |id: &str| id.split_once(':').map_or("judged", |(_, kind)| kind).to_owned();
    let kind = |id: &str| profile.constraint(id).map_or_else(|| of_benchmark(id), |found| name_of(found).to_owned());
    judged.verdicts.iter().filter_map(|v| Some((kind(&v.constraint), v.satisfied?))).collect()
}
