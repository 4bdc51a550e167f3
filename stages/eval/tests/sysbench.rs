//! SysBench's figures on the published verdicts equal a recount that shares no code with the scorer.

// A helper that fails fails its test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use obvert_eval::sysbench::{Alignment, Judged, Session, scores};
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

/// Whether a turn with these verdicts is satisfied.
type Holds = fn(&[Option<u8>]) -> bool;

fn all_yes(verdict: &[Option<u8>]) -> bool {
    verdict.iter().filter(|said| **said == Some(1)).count() == verdict.len()
}

fn no_no(verdict: &[Option<u8>]) -> bool {
    !verdict.contains(&Some(0))
}

/// ISR, that of aligned and of misaligned turns; SSR, that of dependent and of parallel sessions; R1 to R5: one turn after the other.
fn recount(sessions: &[Session], judged: &[&Judged], holds: Holds) -> Vec<f64> {
    let (mut isr, mut ssr, mut r) = ([[0.0; 2]; 3], [[0.0; 2]; 3], [0.0; 5]);
    for session in sessions {
        let (mut run, mut broken) = (0, false);
        for turn in &session.turns {
            let row = judged.iter().find(|row| row.system_id == session.system_id && row.turn == turn.turn).unwrap();
            let met = holds(&row.verdict);
            broken |= !met;
            run += usize::from(!broken);
            for at in [0, if turn.alignment == Alignment::Align { 1 } else { 2 }] {
                isr[at][0] += f64::from(u8::from(met));
                isr[at][1] += 1.0;
            }
        }
        (0..run).for_each(|first| r[first] += 1.0);
        for at in [0, if session.dependent { 1 } else { 2 }] {
            ssr[at][0] += run as f64 / session.turns.len() as f64;
            ssr[at][1] += 1.0;
        }
    }
    let shares = isr.into_iter().chain(ssr).map(|[part, whole]| part / whole);
    shares.chain(r.map(|sessions_so_far| sessions_so_far / sessions.len() as f64)).collect()
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
        let near = |one: f64, other: f64| (one - other).abs() < 1e-12;
        for (reading, holds) in [(&scores.all_yes, all_yes as Holds), (&scores.no_no, no_no)] {
            let recounted = recount(&sessions, &of_model, holds);
            let found = [
                reading.isr.value,
                reading.isr_aligned,
                reading.isr_misaligned,
                reading.ssr.value,
                reading.ssr_dependent,
                reading.ssr_parallel,
            ];
            let found: Vec<f64> = found.into_iter().chain(reading.r.iter().copied()).collect();
            assert_eq!(found.len(), recounted.len());
            assert!(found.iter().zip(&recounted).all(|(a, b)| near(*a, *b)), "{model}: {found:?} {recounted:?}");
        }
        for (kind, share) in &scores.csr_by_type {
            let (mut yes, mut all) = (0, 0);
            for row in &of_model {
                let session = sessions.iter().find(|session| session.system_id == row.system_id).unwrap();
                let turn = session.turns.iter().find(|turn| turn.turn == row.turn).unwrap();
                for (said, criterion) in row.verdict.iter().zip(&turn.criteria).filter(|(_, of)| of.kind == *kind) {
                    yes += usize::from(*said == Some(1) && criterion.kind == *kind);
                    all += 1;
                }
            }
            assert!(near(*share, yes as f64 / all as f64), "{model}: {kind}");
        }
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
    assert_eq!(of(&[judged(1, &[Some(2)])]), "the verdicts on m, session 1, turn 1: 2 is none of 1, 0 and null");
    let half = &scores(&sessions, std::slice::from_ref(&one)).unwrap()["m"];
    assert_eq!((half.sessions, half.cut_off, half.missing, half.verdicts), (0, 1, 0, 0));
    let found = &scores(&sessions, &[one, judged(2, &[None])]).unwrap()["m"];
    assert_eq!((found.all_yes.isr.value, found.no_no.isr.value, found.undecided), (0.5, 1.0, 1));
    assert_eq!((found.all_yes.isr_aligned, found.all_yes.isr_misaligned, found.all_yes.ssr.value), (1.0, 0.0, 0.5));
}
