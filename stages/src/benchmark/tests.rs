use std::path::Path;

use obvert_api::erased::encode;
use obvert_eval::sysbench as sessions;
use serde_json::json;

use super::*;

/// A sink of SysBench's in the folder, and where it tells what it found.
fn sink(folder: &Path) -> (Sink<sysbench::Sysbench>, Findings) {
    let findings = Findings::default();
    let (path, stage, scorer) = (folder.join("scores.json"), "scores".to_owned(), std::marker::PhantomData);
    let methods = Methods::new(&["dpo", "rpo"], None);
    (Sink { path, stage, methods, findings: findings.clone(), known: BTreeMap::new(), scorer }, findings)
}

fn change(row: Value, diff: isize) -> Change {
    Change { root: 0, record: encode(&Json(row)).unwrap().into(), diff }
}

fn session(id: u64) -> Value {
    let turn = |number| json!({ "turn": number, "alignment": "align", "criteria": [{ "type": "format" }] });
    json!({ "system_id": id, "dependent": true, "turns": [turn(1), turn(2)] })
}

fn verdict(session: u64, turn: u32, said: Option<u8>) -> Value {
    json!({ "model": "policy@base", "system_id": session, "turn": turn, "verdict": [said] })
}

#[test]
fn scores_follow_what_comes_and_goes_and_sessions_cut_off_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let (mut sink, findings) = sink(folder.path());
    let mut told = |rows: Vec<(Value, isize)>| {
        let changes = rows.into_iter().map(|(row, diff)| change(row, diff)).collect();
        sink.update(changes, Settled::All).unwrap();
        sink.commit().unwrap();
        findings.lock().benchmarks["scores"].clone()
    };
    let rows = [session(1), session(2), verdict(1, 1, Some(1)), verdict(1, 2, None), verdict(2, 1, Some(1))];
    let first = told(rows.into_iter().map(|row| (row, 1)).collect());
    let values = |of: &Benchmark| -> Vec<f64> { of.grids[0].rows[0].1.iter().map(|c| c.unwrap().value).collect() };
    // CSR, ISR and SSR where all must be yes, and where none may be no.
    assert_eq!(values(&first), [0.5, 0.5, 0.5, 1.0, 1.0]);
    assert_eq!(first.grids[1].rows[0].1.iter().map(|cell| cell.unwrap().value).collect::<Vec<_>>(), [1.0, 1.0]);
    assert_eq!(first.notes.len(), 2, "{:?}", first.notes);
    assert!(first.notes[0].contains("1 of 2 sessions lack verdicts"), "{:?}", first.notes);
    let second = told(vec![(verdict(2, 2, Some(0)), 1), (verdict(1, 2, None), -1), (verdict(1, 2, Some(1)), 1)]);
    assert_eq!((values(&second), second.notes.len()), (vec![0.75, 0.75, 0.75, 0.75, 0.75], 0));
}

#[test]
fn models_go_by_their_methods_the_base_first() {
    let folder = tempfile::tempdir().unwrap();
    let (sink, _) = sink(folder.path());
    let names = |models: &[&str]| {
        let judged = |model: &&str| {
            let model = model.to_string();
            [1, 2].map(|turn| sessions::Judged { model: model.clone(), system_id: 1, turn, verdict: vec![Some(1)] })
        };
        let answers: Vec<sessions::Judged> = models.iter().flat_map(judged).collect();
        let scores = sessions::scores(&[serde_json::from_value(session(1)).unwrap()], &answers).unwrap();
        sink.named(&scores).into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert_eq!(
        names(&["policy@rpo-0123456789abcdef", "policy@dpo-0123456789abcdef", "policy@base"]),
        ["base", "dpo", "rpo"]
    );
    let two = ["policy@dpo-0123456789abcdef", "policy@dpo-1123456789abcdef"];
    assert_eq!(names(&two), two);
}

#[test]
fn what_is_neither_a_row_nor_an_answer_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let (sink, _) = sink(folder.path());
    let accepts = |row: Value| sink.accepts(&encode(&Json(row)).unwrap());
    assert_eq!((accepts(session(1)), accepts(verdict(1, 1, None))), (Ok(()), Ok(())));
    assert!(accepts(json!({ "system_id": 1 })).unwrap_err().contains("dependent"));
    assert!(accepts(json!({ "verdict": [1] })).unwrap_err().starts_with("an answer: missing field"));
}
