//! The stage `train`: its settings, what it counts, and what survives a kill.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use crate::common::{Ran, done, obvert, rows};
use crate::slow::{prepared, prepared_with, results, start, wait_for};

const RUN: [&str; 4] = ["run", "slow.toml", "--out", "out"];

/// Kills a run once its metrics have so many lines.
fn kill_after(folder: &Path, lines: usize) {
    let mut child = start(folder);
    wait_for(&mut child, &folder.join("out/metrics.jsonl"), lines);
    child.kill().unwrap();
    child.wait().unwrap();
}

fn column(rows: &[serde_json::Value], name: &str) -> Vec<f64> {
    rows.iter().map(|row| row[name].as_f64().unwrap()).collect()
}

/// What the account says of the training: updates made and planned, pairs left over, shortened, skipped.
fn training(ran: &Ran) -> Vec<u64> {
    let mut rows = ran.out.lines().skip_while(|line| !line.starts_with("training "));
    let row = rows.nth(1).and_then(|row| row.strip_prefix("train ")).expect(&ran.out);
    row.split([' ', '/']).filter(|cell| !cell.is_empty()).map(|cell| cell.parse().unwrap()).collect()
}

/// The reference's log-probs on disk, by their keys.
fn reference(folder: &Path) -> (Vec<u8>, HashSet<Vec<u8>>) {
    let bytes = fs::read(folder.join("out/state/train.reference.cache")).unwrap();
    let keys = bytes.chunks(36).map(|record| record[..16].to_vec()).collect();
    (bytes, keys)
}

/// Earlier pairs are trained on again, dialogues are held out, histories lose turns: all of it as if there had been no kill.
#[test]
fn replay_validation_and_short_histories_survive_a_kill() {
    let settings = "replay = { capacity = 12, ratio = 0.5 }\nvalidation = 0.3\nvalidate_every = 2\nmax_length = 100\n";
    let [expected, killed] = [0, 1].map(|_| prepared_with(settings));
    let ran = done(expected.path(), &RUN);
    [2, 5].iter().for_each(|lines| kill_after(killed.path(), *lines));
    done(killed.path(), &[&RUN[..], &["--workers", "2"]].concat());
    assert!(results(killed.path()) == results(expected.path()), "the kills changed the results");
    let (measured, updates): (Vec<_>, Vec<_>) =
        results(expected.path()).2.into_iter().partition(|row| row.get("eval_loss").is_some());
    // Half of four, or fewer where one that is drawn is too long.
    let replayed = column(&updates, "pairs/replayed");
    assert!(replayed[0] == 0.0 && replayed[1..].iter().all(|n| (1.0..=2.0).contains(n)), "{replayed:?}");
    let held = column(&measured, "eval_pairs");
    assert!(!held.is_empty() && held.is_sorted() && held[0] > 0.0, "{held:?}");
    let short = column(&updates, "pairs/shortened");
    assert!(short.is_sorted() && short[5] > 0.0, "{short:?}");
    let told = training(&ran);
    assert_eq!((told[0], told[1], told[3] as f64), (6, 6, short[5]), "{}", ran.out);
    // No pair's log-probs under the reference were computed twice, replayed or after a kill.
    let (bytes, keys) = reference(expected.path());
    assert_eq!(bytes.len(), 36 * keys.len());
    assert!(keys.len() as f64 > held[held.len() - 1] && bytes == reference(killed.path()).0);
}

/// What is too long is counted with its cause, held out or not, and once, however often the run goes on.
#[test]
fn pairs_that_are_too_long_are_counted_once() {
    let folder = prepared_with("validation = 0.5\nmax_length = 5\n");
    for _ in 0..2 {
        let ran = done(folder.path(), &RUN);
        let pairs = rows(&folder.path().join("out/pairs/pairs.jsonl")).len();
        let skipped = format!("train skipped {pairs} pairs, the first one ");
        assert!(pairs > 20 && ran.out.contains(&skipped) && ran.out.contains("max_length: "), "{skipped}: {}", ran.out);
        assert_eq!(training(&ran), [0, 6, 0, 0, pairs as u64]);
        assert!(ran.out.contains("too few pairs came for all updates of train"), "{}", ran.out);
    }
}

/// A run goes on with activations recomputed that were kept before; with another rate it is another run.
#[test]
fn activations_may_change_in_the_middle_of_a_run() {
    let [expected, killed] = [0, 1].map(|_| prepared());
    done(expected.path(), &RUN);
    kill_after(killed.path(), 3);
    let with = |setting| done(killed.path(), &[&RUN[..], &["--set", setting]].concat()).err;
    let (same, other) = (with("train.activations=recompute"), results(killed.path()));
    assert!(!same.contains("starts over") && other == results(expected.path()), "{same}");
    assert!(with("train.lr=1e-4").contains("starts over"));
}

/// Pairs leave for the trainer with their mirrors: nothing is learnt yet in the first update, and nothing is odd in any.
#[test]
fn iopo_finds_its_mirrored_pairs_in_the_stream() {
    let folder = prepared_with("loss = \"iopo\"\n");
    done(folder.path(), &RUN);
    let losses = column(&results(folder.path()).2, "loss");
    assert_eq!(losses.len(), 6);
    assert!((losses[0] - std::f64::consts::LN_2).abs() < 1e-5 && losses[5] < losses[0], "{losses:?}");
}

#[test]
fn settings_that_make_no_sense_are_refused_with_their_place() {
    let folder = prepared();
    let text = fs::read_to_string(folder.path().join("slow.toml")).unwrap();
    let line = text.lines().count() + 1;
    let cases = [
        ("beta = 0", "`beta`: 0 must be a positive number"),
        ("rank = 0", "`rank`: 0 is not between 1 and 1024"),
        ("replay = { ratio = 1 }", "`replay.ratio`: 1 must be from 0 to 0.9"),
        ("lable_smoothing = 0.1", "did you mean `label_smoothing`?"),
        ("kto_baseline = \"pairs\"", "it can be: `mismatched`, `pair`, `zero`"),
        ("total_steps = 5", "no setting `total_steps`"),
        ("reference = \"start\"", "no setting `reference`"),
    ];
    for (setting, said) in cases {
        fs::write(folder.path().join("bad.toml"), format!("{text}{setting}\n")).unwrap();
        let ran = obvert(folder.path(), &["check", "bad.toml"]);
        let place = format!("bad.toml:{line}:");
        assert!(ran.code == 2 && ran.err.contains(said) && ran.err.contains(&place), "{setting}: {}", ran.err);
    }
    let odd = ["--set", "train.batch_size=3", "--set", "train.loss=iopo"];
    let ran = obvert(folder.path(), &[&["check", "slow.toml"], &odd[..]].concat());
    assert!(ran.code == 2 && ran.err.contains("two by two"), "{}", ran.err);
}
