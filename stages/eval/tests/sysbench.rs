//! SysBench's figures on the published verdicts equal a recount that shares no code with the scorer.

// A helper that fails fails its test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use obvert_eval::sysbench::{Judged, Session, scores};
use serde::de::DeserializeOwned;

fn shared() -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let path = std::env::var_os("OBVERT_SHARED").map_or(default, PathBuf::from);
    path.join("data").is_dir().then_some(path)
}

fn rows<T: DeserializeOwned>(path: &Path) -> Vec<T> {
    let mut text = String::new();
    GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    // Python's missing numbers are no JSON.
    text.replace(": NaN", ": null").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn figures_equal_a_recount_by_hand() {
    let Some(shared) = shared() else {
        eprintln!("SKIPPED: figures_equal_a_recount_by_hand: no shared data");
        return;
    };
    let sessions: Vec<Session> = rows(&shared.join("data/sysbench/sessions.jsonl.gz"));
    let judged: Vec<Judged> = rows(&shared.join("data/sysbench/verdicts_own_history.jsonl.gz"));
    let found = scores(&sessions, &judged).unwrap();
    assert_eq!(found.len(), 14);
    let dependent: BTreeMap<u64, bool> = sessions.iter().map(|s| (s.system_id, s.dependent)).collect();
    for (model, scores) in &found {
        let of_model: Vec<&Judged> = judged.iter().filter(|row| row.model == *model).collect();
        let (mut yes, mut all, mut met, mut turns) = (0, 0, 0, 0);
        for row in &of_model {
            yes += row.verdict.iter().filter(|said| **said == Some(1)).count();
            all += row.verdict.len();
            met += usize::from(row.verdict.iter().all(|said| *said == Some(1)));
            turns += 1;
        }
        assert_eq!(
            (scores.csr.value, scores.all_yes.isr.value),
            (yes as f64 / all as f64, met as f64 / turns as f64),
            "{model}"
        );
        // Sessions one by one: how many of the first turns have no "no".
        let (mut ssr, mut all_five, mut tied, mut ties) = (0.0, 0, 0.0, 0);
        for session in dependent.keys() {
            let mut run = 0;
            for turn in 1..=5 {
                let row = of_model.iter().find(|row| row.system_id == *session && row.turn == turn).unwrap();
                if row.verdict.contains(&Some(0)) {
                    break;
                }
                run += 1;
            }
            ssr += f64::from(run) / 5.0;
            all_five += usize::from(run == 5);
            if dependent[session] {
                tied += f64::from(run) / 5.0;
                ties += 1;
            }
        }
        let near = |one: f64, other: f64| (one - other).abs() < 1e-12;
        let reading = &scores.no_no;
        assert!(near(reading.ssr.value, ssr / 250.0) && near(reading.r[4], all_five as f64 / 250.0), "{model}");
        assert!(near(reading.ssr_dependent, tied / f64::from(ties)), "{model}");
        assert!(near(reading.r.iter().sum::<f64>() / 5.0, reading.ssr.value), "{model}");
        assert!(scores.csr.low < scores.csr.value && scores.csr.value < scores.csr.high, "{model}");
    }
    // The known ones, on half of the sessions: the order of models is the benchmark's.
    assert!(found["gpt4o"].csr.value > found["llama3_8b"].csr.value);
    eprintln!("gpt4o: {:?} {:?}", found["gpt4o"].csr, found["gpt4o"].no_no);
}

#[test]
fn rows_that_do_not_fit_are_named() {
    let sessions = serde_json::json!([{ "system_id": 1, "dependent": false, "turns": [
        { "turn": 1, "alignment": "align", "criteria": [{ "type": "format" }] },
        { "turn": 2, "alignment": "misalign", "criteria": [{ "type": "style" }] },
    ] }]);
    let sessions: Vec<Session> = serde_json::from_value(sessions).unwrap();
    let judged =
        |turn: u32, verdict: &[Option<u8>]| Judged { model: "m".into(), system_id: 1, turn, verdict: verdict.to_vec() };
    let of = |rows: &[Judged]| scores(&sessions, rows).unwrap_err().to_string();
    assert_eq!(of(&[judged(3, &[])]), "the verdicts on m, session 1, turn 3: there is no such turn");
    assert_eq!(of(&[judged(1, &[])]), "the verdicts on m, session 1, turn 1: they are 0, of 1 criteria");
    let one = judged(1, &[Some(1)]);
    assert_eq!(of(&[one.clone(), one.clone()]), "the verdicts on m, session 1, turn 1: they are there twice");
    assert_eq!(of(std::slice::from_ref(&one)), "m, session 1: turn 2 has no verdicts");
    let found = &scores(&sessions, &[one, judged(2, &[None])]).unwrap()["m"];
    assert_eq!((found.all_yes.isr.value, found.no_no.isr.value, found.undecided), (0.5, 1.0, 1));
    assert_eq!((found.all_yes.isr_aligned, found.all_yes.isr_misaligned, found.all_yes.ssr.value), (1.0, 0.0, 0.5));
}
