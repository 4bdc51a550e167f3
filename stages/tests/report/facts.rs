//! Facts to report: of a small run, of a large comparison, hostile ones.

use std::collections::BTreeMap;
use std::fs;

use obvert_api::record::{Message, Pair, PairConstraint};
use obvert_eval::adherence::{Part, Scores};
use obvert_eval::table::{Row, table};
use obvert_stages::diversity::{Diversity, TypeRow, Variety};
use obvert_stages::output::report::{self, ModelUse, ReportFacts, StageCount};
use obvert_stages::output::summary;
use obvert_stages::{Benchmark, Cell, Grid, SetOfPairs, Skipped, Training};
use tempfile::tempdir;

/// A text as nobody should give it: markup, quotes, a control character, another script.
pub const HOSTILE: &str =
    "<script>alert('x')</script> & \"quoted\" ```fence``` {{ name }}\u{1b}[31m 日本語 \u{202e}שלום";

pub const METHODS: [&str; 9] =
    ["base", "sft", "dpo", "ipo", "kto", "simpo", "orpo", "rpo-without-reversal-of-dependent-constraints", "rpo"];

/// A word that fits no phone.
pub fn long() -> String {
    format!("{HOSTILE} {}", "unbreakable_word_".repeat(20))
}

/// The page on some facts.
pub fn written(facts: &ReportFacts) -> String {
    let dir = tempdir().unwrap();
    let path = dir.path().join("report.html");
    report::write(&path, facts).unwrap();
    fs::read_to_string(path).unwrap()
}

/// A pair of a case whose first constraint is reversed, if any is.
pub fn pair(case: u8, reversed: bool) -> Pair {
    let constraint = |id: &str, reversed, chosen, rejected| PairConstraint {
        id: id.into(),
        text: if reversed { format!("Do not mention {id}.") } else { format!("Mention {id}.") },
        original: format!("Mention {id}."),
        reversed,
        check: None,
        active: id != "lemon",
        chosen,
        rejected,
        corrected: false,
    };
    Pair {
        id: format!("p{case}"),
        dialogue: format!("d{case}"),
        turn: 1,
        profile: "waiter".into(),
        prompt: vec![Message::new("system", "You wait."), Message::new("user", "What is there to drink?")],
        chosen: "Milk it is.".into(),
        rejected: "Tea.".into(),
        g: 2,
        case,
        constraints: vec![
            constraint("tea", reversed, Some(false), Some(true)),
            constraint("milk", false, Some(true), Some(false)),
            constraint("sugar", false, None, None),
            constraint("lemon", false, None, None),
        ],
        chosen_sample: 0,
        rejected_sample: 3,
        chosen_model: "base".into(),
        rejected_model: "base@7".into(),
        chosen_finished: true,
        rejected_finished: true,
    }
}

pub fn set(pairs: Vec<Pair>) -> SetOfPairs {
    SetOfPairs { summary: summary(&pairs), examples: pairs, ..SetOfPairs::default() }
}

/// So many updates, of which the last row has no number.
pub fn logged(updates: u32, at: f64) -> Vec<BTreeMap<String, f64>> {
    let row = |step: u32| {
        let loss = at / f64::from(step);
        let values = [
            ("step", f64::from(step)),
            ("loss", loss),
            ("rewards/chosen", 1.0 - loss),
            ("rewards/rejected", -0.5),
            ("rewards/margins", 1.5 - loss),
            ("rewards/accuracies", 1.0 - loss / 2.0),
        ];
        values.map(|(name, value)| (name.to_owned(), value)).into()
    };
    (1..=updates).map(row).chain([BTreeMap::from([("loss".to_owned(), f64::NAN)])]).collect()
}

pub fn score(method: &str, model: &str, csr: f64, types: &[&str]) -> Row {
    let part = |of: String, at: f64| Part { of, csr: csr * at, isr: csr * at * at, turns: 40, constraints: 90 };
    let scores = Scores {
        csr,
        isr: csr * csr,
        ssr: csr / 2.0,
        turns: 40,
        constraints: 90,
        by_turn: (1..=5).map(|turn| part(turn.to_string(), 1.0 - 0.1 * f64::from(turn))).collect(),
        by_number: (3..=12).map(|number| part(number.to_string(), 1.0 - 0.05 * f64::from(number))).collect(),
        by_type: types.iter().map(|of| part(of.to_string(), 0.9)).collect(),
    };
    Row { model: model.into(), method: method.into(), scores }
}

fn varied(name: &str) -> Diversity {
    let texts = Variety { count: 1234, near_duplicates: 1 };
    let row = |satisfied, not_applicable| TypeRow {
        name: name.into(),
        coverage: 0.5,
        constraints: 3,
        satisfied,
        violated: satisfied / 2,
        not_applicable,
    };
    Diversity { profiles: texts.clone(), queries: texts, types: vec![row(2, 0), row(0, 7)] }
}

/// A benchmark's scores of these models.
fn benchmark(models: &[&str]) -> Benchmark {
    let grid = |columns: &[&str], interval| {
        let cell = |share: f64| Cell { value: share, interval };
        let row = |model: &&str| {
            let cells = (0..columns.len()).map(|at| (at != 2).then(|| cell(0.512 + 0.1 * at as f64)));
            (model.to_string(), cells.collect())
        };
        let columns = columns.iter().map(|column| column.to_string()).collect();
        Grid { caption: "2 sessions".into(), head: "Model", columns, rows: models.iter().map(row).collect() }
    };
    let grids = vec![grid(&["CSR", "ISR, all yes", "SSR"], Some((0.456, 1.0))), grid(models, None)];
    let notes = models.iter().map(|model| model.to_string()).collect();
    Benchmark { title: "SysBench", terms: "CSR: verdicts yes, of all.", grids, notes }
}

/// A run as the quickstart's: one training, base and trained.
pub fn small() -> ReportFacts {
    let stage = |name: &str, inputs| StageCount {
        name: name.into(),
        kind: name.into(),
        inputs,
        handled: inputs,
        outputs: inputs,
        ..StageCount::default()
    };
    let types = ["keyword", "length"];
    ReportFacts {
        name: "tea".into(),
        date: "2026-01-02 03:04".into(),
        elapsed: 3725.0,
        pipeline: "name = \"tea\"".into(),
        stages: vec![stage("play", 30), stage("judge", 150)],
        pairs: BTreeMap::from([("pairs".into(), set(vec![pair(2, true), pair(6, false)]))]),
        metrics: BTreeMap::from([("train".into(), logged(50, 1.0))]),
        trainings: BTreeMap::from([(
            "train".into(),
            Training { updates: 50, planned: 50, unused: 1234, ..Training::default() },
        )]),
        scores: BTreeMap::from([(
            "scores".into(),
            vec![score("base", "base", 0.5, &types), score("train", "0123456789abcdef", 0.625, &types)],
        )]),
        benchmarks: BTreeMap::from([("sysbench".into(), benchmark(&["base", "train"]))]),
        models: vec![ModelUse { model: "policy".into(), stage: "play".into(), calls: 3, ..ModelUse::default() }],
        ..ReportFacts::default()
    }
}

/// A comparison of nine methods over three runs, 24 trainings, two sinks of pairs, and hostile texts wherever any can come from.
pub fn large() -> ReportFacts {
    let long = long();
    let types = ["keyword", "length", "a_type_with_a_rather_long_name:of_several_parts", HOSTILE];
    let run = |seed: u32| {
        let row = |(at, method): (usize, &&str)| {
            let of_seed = 0.01 * f64::from((seed * 7 + at as u32 * 3) % 5);
            score(method, &format!("{method}-lr-4e-3-{seed:016x}"), 0.3 + 0.05 * at as f64 + of_seed, &types)
        };
        let mut rows: Vec<Row> = METHODS.iter().enumerate().map(row).collect();
        rows[2].method = long.clone();
        rows
    };
    let runs: Vec<Vec<Row>> = (0..3).map(run).collect();
    let stage = StageCount {
        name: long.clone(),
        kind: long.clone(),
        inputs: 12_345_678,
        handled: 12_345_000,
        rejected: 600,
        outputs: 123_456_789,
        calls: 12_345_678,
        memo_hits: 1_234_567,
    };
    let asked = ModelUse {
        model: long.clone(),
        stage: long.clone(),
        calls: 12_345_678,
        prompt_tokens: 2_345_678_901,
        completion_tokens: 234_567_890,
        cost: 12_345.678,
        seconds: 987_654.0,
        ..ModelUse::default()
    };
    let mut pairs: Vec<Pair> = (1..=6).map(|case| pair(case, true)).collect();
    pairs[0] = Pair {
        chosen: long.repeat(9),
        rejected: "line\n".repeat(99),
        profile: long.clone(),
        dialogue: long.clone(),
        chosen_model: long.clone(),
        prompt: vec![Message::new("user", &long)],
        constraints: vec![PairConstraint {
            text: long.clone(),
            original: long.clone(),
            ..pairs[0].constraints[0].clone()
        }],
        ..pairs[0].clone()
    };
    // From a fraction of a thousandth to millions: what axes have to name.
    let training = |at: i32| {
        let name = if at == 0 { long.clone() } else { format!("stage-lr-{at:02}e-3") };
        (name, logged(if at == 5 { 1 } else { 1000 * (at as u32 + 1) % 7000 + 2 }, 10f64.powi(at - 8)))
    };
    let trained = |name: String| {
        let skipped = Skipped { pairs: 7_654_321, first: long.clone() };
        (name, Training { updates: 2, planned: 7000, skipped, shortened: 1_234_567, unused: 0 })
    };
    ReportFacts {
        name: long.clone(),
        date: long.clone(),
        note: Some(long.clone()),
        elapsed: 987_654.0,
        pipeline: format!("# {long}\nname = \"tea\""),
        stages: vec![stage; 3],
        pairs: BTreeMap::from([(long.clone(), set(pairs)), ("by-score".into(), set(vec![pair(2, false)]))]),
        metrics: (0..24).map(training).collect(),
        trainings: [long.clone(), "stage-lr-05e-3".into()].map(trained).into(),
        tables: BTreeMap::from([("scores".into(), table(&runs, "rpo")), (long.clone(), table(&runs[..1], "rpo"))]),
        scores: BTreeMap::from([("scores".into(), runs[0].clone()), (long.clone(), runs[1][..2].to_vec())]),
        benchmarks: BTreeMap::from([
            ("sysbench".into(), benchmark(&METHODS[4..])),
            (long.clone(), benchmark(&[long.as_str(), HOSTILE])),
        ]),
        diversity: Some(varied(&long)),
        models: vec![asked.clone(), ModelUse { cost: 0.0, ..asked }],
    }
}
