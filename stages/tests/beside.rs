//! Training by two processes that share every batch, each a run of this test of its own.

// Helpers of tests are tests too, which clippy's configuration cannot see.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

use obvert_engine::cluster::Seat;
use obvert_stages::beside::Beside;
use obvert_trainer::load::Checkpoint;
use obvert_trainer::settings::LossKind;
use obvert_trainer::{LoraSettings, TokenPair, TrainSettings, Trainer, checkpoint};

/// What a process is told: its number, the loss, where to leave its checkpoint, the hosts.
const PART: &str = "OBVERT_TEST_BESIDE";
const MODEL: &str = "../pipelines/quickstart/model";

/// A trainer of the quickstart's model.
fn trainer(loss: LossKind) -> Trainer {
    let model = Checkpoint::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join(MODEL)).unwrap().model().unwrap();
    let settings = TrainSettings {
        loss,
        lr: 1e-3,
        total_steps: 4,
        warmup_ratio: Some(0.0),
        micro_tokens: 60,
        ..TrainSettings::default()
    };
    Trainer::new(Arc::new(model), settings, &LoraSettings::default(), 1).unwrap()
}

/// Pairs of unlike lengths: an odd number of them, so that shares are unlike too.
fn pairs() -> Vec<TokenPair> {
    let tokens = |from: u32, count: u32| (0..count).map(|at| (from * 37 + at * 11) % 900).collect::<Vec<_>>();
    let pair = |n: u32| TokenPair {
        prompt: tokens(n, 5 + n),
        chosen: tokens(n + 50, 4 + n % 3),
        rejected: tokens(n + 90, 9 - n),
        gap: (n + 1) as f32,
    };
    (0..7).map(pair).collect()
}

/// Trains for four updates and leaves the state.
fn train(mut trainer: Trainer, to: &Path) {
    let pairs = pairs();
    let reference = trainer.reference_logps(&pairs).unwrap();
    let before = trainer.evaluate(&pairs, &reference).unwrap().loss;
    // One batch has fewer pairs than there are processes.
    for batch in [0..7, 5..6, 0..7, 2..4] {
        trainer.step(&pairs[batch.clone()], &reference[batch]).unwrap();
    }
    let loss = trainer.evaluate(&pairs, &reference).unwrap().loss;
    assert!(loss < before);
    trainer.save(to, &loss.into()).unwrap();
    trainer.leave().unwrap();
}

/// A part; in an ordinary run of the tests there is none to play.
#[test]
fn a_process() {
    let Ok(told) = std::env::var(PART) else { return };
    let words: Vec<&str> = told.split(' ').collect();
    let loss = serde_json::from_value(words[1].into()).unwrap();
    let hosts = words[3..].iter().map(|host| host.to_string()).collect();
    let index = words[0].parse().unwrap();
    let cluster = Seat::take(hosts, index).unwrap().join([7; 32], Duration::from_secs(30)).unwrap();
    train(trainer(loss).beside(Box::new(Beside(cluster))), Path::new(words[2]));
}

fn start(index: usize, loss: &str, to: &Path, hosts: &[String]) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_process"]);
    command.env(PART, format!("{index} {loss} {} {}", to.display(), hosts.join(" "))).spawn().unwrap()
}

/// The adapter's distance, relative, and that of the losses.
fn apart(found: &Path, expected: &Path) -> [f64; 2] {
    let [(found, loss), (expected, expected_loss)] =
        [found, expected].map(|path| checkpoint::load::<f32>(path).unwrap());
    let values =
        found.adapter.matrices().zip(expected.adapter.matrices()).flat_map(|(a, b)| a.data.iter().zip(&b.data));
    let (difference, size) = values.fold((0.0, 0.0), |(difference, size), (a, b)| {
        (difference + f64::from(a - b).powi(2), size + f64::from(*b).powi(2))
    });
    [(difference / size).sqrt(), (loss.as_f64().unwrap() - expected_loss.as_f64().unwrap()).abs()]
}

#[test]
fn two_processes_make_the_adapter_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    // RPO's terms read their own pair, KTO's the whole batch and mismatched ones, SFT's the tokens of all.
    for loss in ["rpo", "kto", "sft"] {
        let one = path(&format!("{loss}-one"));
        train(trainer(serde_json::from_value(loss.into()).unwrap()), &one);
        let listeners = [0; 2].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let hosts = listeners.map(|listener| listener.local_addr().unwrap().to_string());
        let two = [0, 1].map(|index| path(&format!("{loss}-{index}")));
        let children = [0, 1].map(|index| start(index, loss, &two[index], &hosts));
        assert!(children.into_iter().all(|mut child| child.wait().unwrap().success()), "{loss}");
        let [states, others] = [&two[0], &two[1]].map(|path| checkpoint::load::<f32>(path).unwrap());
        assert!(states == others, "{loss}: the two processes do not have the same adapter, bit for bit");
        let [adapters, losses] = apart(&two[0], &one);
        eprintln!("{loss}: adapters {adapters:.1e} apart, losses {losses:.1e}");
        assert!(adapters < 1e-5 && losses < 1e-5, "{loss}: adapters {adapters:.1e} apart, losses {losses:.1e}");
    }
}
