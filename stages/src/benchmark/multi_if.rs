//! `multi-if-scores`: conversations and rows {model, key, turn, response}.

use std::collections::BTreeMap;

use obvert_eval::multi_if::{Conversation, Response, Scores, scores, verdicts};

use super::{Benchmark, ByModel, Grid, Named, Scorer, by_type};

pub(super) struct MultiIf;

impl Scorer for MultiIf {
    const STAGE: &'static str = "multi-if-scores";
    const ANSWER: &'static str = "response";
    const FILE: &'static str = "multi-if.json";
    type Row = Conversation;
    type Answer = Response;
    type Scores = Scores;

    fn scores(rows: &[Conversation], answers: &[Response]) -> Result<ByModel<Scores>, obvert_eval::Error> {
        Ok(scores(&verdicts(rows, answers)?))
    }

    fn shown(scores: &Named<Scores>, rows: usize) -> Benchmark {
        let steps = scores.iter().map(|(_, of)| of.all.steps.len()).max().unwrap_or_default();
        let mut grids = vec![overall(scores, steps, rows)];
        grids.extend((0..steps).map(|step| accuracies(scores, step)));
        grids.extend(by_type("Instructions by type, strict, all steps", &types(scores)));
        let terms = "A step is a turn of all conversations that go so far. Its score is the mean of four accuracies: of prompts with every \
                     instruction followed and of instructions, strictly, and loosely, where an answer may also pass without its first \
                     line, its last line or its asterisks.";
        Benchmark { title: "Multi-IF", terms, grids, notes: Vec::new() }
    }

    fn notes(model: &str, scores: &Scores, rows: usize) -> Vec<String> {
        scores.notes(model, rows as u64)
    }
}

fn types(scores: &Named<Scores>) -> Vec<(String, BTreeMap<String, f64>)> {
    let strict = |of: &Scores| of.by_type.iter().map(|(kind, of)| (kind.clone(), of.strict)).collect();
    scores.iter().map(|(model, of)| (model.clone(), strict(of))).collect()
}

fn overall(scores: &Named<Scores>, steps: usize, rows: usize) -> Grid {
    let cells = |of: &Scores| {
        let step = |at: usize| of.all.steps.get(at).map(|step| step.score.into());
        std::iter::once(Some(of.all.overall.into())).chain((0..steps).map(step)).collect()
    };
    let step = (1..=steps).map(|step| format!("step {step}"));
    Grid {
        caption: format!("Mean of the four accuracies, {rows} conversations"),
        head: "Model",
        columns: std::iter::once("all steps".to_owned()).chain(step).collect(),
        rows: scores.iter().map(|(model, of)| (model.clone(), cells(of))).collect(),
    }
}

fn accuracies(scores: &Named<Scores>, step: usize) -> Grid {
    let cells = |of: &Scores| match of.all.steps.get(step).map(|step| step.accuracies) {
        Some(of) => {
            let all = [of.prompt_strict, of.instruction_strict, of.prompt_loose, of.instruction_loose];
            all.map(|share| Some(share.into())).to_vec()
        }
        None => vec![None; 4],
    };
    let columns = ["prompts, strict", "instructions, strict", "prompts, loose", "instructions, loose"];
    Grid {
        caption: format!("Accuracies of step {}", step + 1),
        head: "Model",
        columns: columns.map(str::to_owned).to_vec(),
        rows: scores.iter().map(|(model, of)| (model.clone(), cells(of))).collect(),
    }
}
