//! Runs over a fixed set: cut off and resumed, damaged checkpoints, validation, the reference's cache.

// Helpers of tests are tests too, which clippy's configuration cannot see.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{random_model, random_pairs, tiny_config};
use obvert_trainer::fit::{Data, Fit, FitSettings, Inputs, Observer, Outcome, Plan};
use obvert_trainer::reference::ReferenceCache;
use obvert_trainer::settings::LossKind;
use obvert_trainer::{Adapter, Error, LoraSettings, Measures, Metrics, Model, TokenPair, TrainSettings, Trainer};
use serde_json::json;

/// Counts what it hears and cuts the run off after some updates.
#[derive(Default)]
struct Ear {
    cut_after: Option<u64>,
    refused: Vec<String>,
    began_at: u64,
    losses: Vec<(u64, f64)>,
    validations: usize,
}

impl Observer for Ear {
    fn refused(&mut self, error: &Error) {
        self.refused.push(error.to_string());
    }

    fn begins(&mut self, _plan: &Plan, steps: u64) -> Result<(), Error> {
        self.began_at = steps;
        Ok(())
    }

    fn updated(&mut self, metrics: &Metrics, _epoch: f64, _seconds: f64) -> Result<(), Error> {
        self.losses.push((metrics.step, metrics.batch.loss));
        if self.cut_after == Some(metrics.step) { Err(Error::field("test", "cut off")) } else { Ok(()) }
    }

    fn validated(&mut self, _step: u64, _measures: &Measures) -> Result<(), Error> {
        self.validations += 1;
        Ok(())
    }
}

fn model() -> Arc<Model> {
    Arc::new(random_model(&tiny_config(json!({})), 5))
}

fn data() -> Data {
    let pairs = random_pairs(10, 37, [6, 5, 4], 9);
    let groups = (0..10).map(|at| format!("dialogue {}", at / 2)).collect();
    Data { pairs, groups }
}

fn settings() -> FitSettings {
    FitSettings { epochs: 3, batch_size: 3, validation: 0.2, checkpoint_every: 2, seed: 4, ..FitSettings::default() }
}

fn inputs() -> Inputs {
    let (model, base) = (model(), "base".to_owned());
    let start = adapter(&LoraSettings::default());
    let training = TrainSettings { lr: 1e-2, ..TrainSettings::default() };
    Inputs { model, base, start, training, data: data(), settings: settings() }
}

fn adapter(settings: &LoraSettings) -> Adapter {
    Adapter::new(&model().config, settings, 1).unwrap()
}

fn run_with(folder: &Path, inputs: Inputs, ear: &mut Ear) -> Result<(Outcome, Vec<u32>), Error> {
    let mut fit = Fit::new(inputs, Some(folder))?;
    let outcome = fit.run(ear)?;
    let bits = fit.trainer().adapter().unwrap().matrices().flat_map(|m| m.data.iter().map(|v| v.to_bits())).collect();
    Ok((outcome, bits))
}

fn run(folder: &Path, ear: &mut Ear) -> Result<(Outcome, Vec<u32>), Error> {
    run_with(folder, inputs(), ear)
}

fn checkpoints(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("checkpoints")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn a_run_that_was_cut_off_goes_on_bit_for_bit() {
    let [straight, cut] = [0, 1].map(|_| tempfile::tempdir().unwrap());
    let mut whole = Ear::default();
    let (outcome, expected) = run(straight.path(), &mut whole).unwrap();
    // Eight pairs of ten are trained on, three at a time.
    assert_eq!((outcome.steps, whole.losses.len(), whole.validations), (9, 9, 3));
    for cut_after in [3, 8] {
        let mut ear = Ear { cut_after: Some(cut_after), ..Ear::default() };
        assert!(run(cut.path(), &mut ear).unwrap_err().to_string().contains("cut off"));
    }
    let mut ear = Ear::default();
    let resumed = run(cut.path(), &mut ear).unwrap();
    assert_eq!((ear.began_at, &ear.losses[..]), (6, &whole.losses[6..]));
    assert_eq!(resumed, (outcome, expected));
    assert_eq!(checkpoints(cut.path()).len(), 2);
}

#[test]
fn a_damaged_checkpoint_leaves_the_one_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let expected = run(folder.path(), &mut Ear::default()).unwrap();
    let newest = checkpoints(folder.path()).pop().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&newest, bytes).unwrap();
    let mut ear = Ear::default();
    assert_eq!(run(folder.path(), &mut ear).unwrap(), expected);
    assert_eq!((ear.began_at, ear.refused.len()), (8, 1));
    assert!(ear.refused[0].contains("step-0000000009.safetensors") && ear.refused[0].contains("checksum"));
    // The damaged file has given way: nothing is refused the next time.
    let mut ear = Ear::default();
    run(folder.path(), &mut ear).unwrap();
    assert_eq!((ear.began_at, ear.refused.len()), (9, 0));
}

fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    checkpoints(folder).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn another_run_in_the_folder_is_refused_and_leaves_it_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &mut Ear::default()).unwrap();
    let before = contents(folder.path());
    let lora = |change: fn(&mut LoraSettings)| {
        let mut settings = LoraSettings::default();
        change(&mut settings);
        Inputs { start: adapter(&settings), ..inputs() }
    };
    let mut fewer = data();
    fewer.pairs.pop();
    fewer.groups.pop();
    let mut deeper = tiny_config(json!({}));
    deeper.layers += 1;
    let deep = Arc::new(random_model(&deeper, 5));
    let start = Adapter::new(&deeper, &LoraSettings::default(), 1).unwrap();
    for other in [
        Inputs { training: TrainSettings { lr: 2e-2, ..inputs().training }, ..inputs() },
        Inputs { settings: FitSettings { epochs: 4, ..settings() }, ..inputs() },
        Inputs { base: "another".into(), ..inputs() },
        Inputs { data: fewer, ..inputs() },
        lora(|settings| settings.rank = 4),
        lora(|settings| settings.alpha = 32.0),
        lora(|settings| settings.targets.truncate(2)),
        Inputs { model: deep, base: "deep".into(), start, ..inputs() },
    ] {
        let error = run_with(folder.path(), other, &mut Ear::default()).unwrap_err().to_string();
        assert!(error.contains("another model, start, settings or pairs"), "{error}");
        assert!(contents(folder.path()) == before, "the folder was changed");
    }
    let often = FitSettings { checkpoint_every: 1, ..settings() };
    let mut ear = Ear::default();
    run_with(folder.path(), Inputs { settings: often, ..inputs() }, &mut ear).unwrap();
    assert_eq!(ear.began_at, 9);
}

#[test]
fn a_checkpoint_that_cannot_be_read_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &mut Ear::default()).unwrap();
    // A folder cannot be read as a file, whoever tries.
    fs::create_dir(folder.path().join("checkpoints/step-0000000099.safetensors")).unwrap();
    let error = run(folder.path(), &mut Ear::default()).unwrap_err().to_string();
    assert!(error.contains("step-0000000099.safetensors"), "{error}");
    assert_eq!(checkpoints(folder.path()).len(), 3);
}

#[test]
fn a_checkpoint_of_another_version_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &mut Ear::default()).unwrap();
    let newest = checkpoints(folder.path()).pop().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    let field = br#"version\\\":"#;
    let at = bytes.windows(field.len()).position(|part| part == field).unwrap() + field.len();
    bytes[at] = b'2';
    fs::write(&newest, bytes).unwrap();
    let before = contents(folder.path());
    let error = run(folder.path(), &mut Ear::default()).unwrap_err().to_string();
    assert!(error.contains("version = 2 is not supported: this program reads 1"), "{error}");
    assert!(contents(folder.path()) == before, "the folder was changed");
}

#[test]
fn a_cleared_folder_takes_another_run() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &mut Ear::default()).unwrap();
    let best = folder.path().join("best");
    assert!(best.exists());
    let training = TrainSettings { lr: 0.0, ..TrainSettings::default() };
    let mut other = Fit::new(Inputs { training, ..inputs() }, Some(folder.path())).unwrap();
    other.clear().unwrap();
    assert!(!best.exists() && checkpoints(folder.path()).is_empty());
    let mut ear = Ear::default();
    other.run(&mut ear).unwrap();
    assert_eq!(ear.began_at, 0);
}

/// With a rate that destroys the adapter the held-out loss rises at once.
#[test]
fn a_run_stops_when_validation_no_longer_improves() {
    let folder = tempfile::tempdir().unwrap();
    let settings = FitSettings { epochs: 40, patience: 2, validate_every: 1, ..settings() };
    let training = TrainSettings { lr: 3.0, ..TrainSettings::default() };
    let (outcome, _) = run_with(folder.path(), Inputs { training, settings, ..inputs() }, &mut Ear::default()).unwrap();
    let (best, _) = outcome.best.unwrap();
    assert!(outcome.stopped_early && outcome.steps == best + 2 && outcome.steps < 120, "{outcome:?}");
    assert!(folder.path().join("best/adapter_model.safetensors").exists());
}

#[test]
fn reference_log_probs_are_kept_and_damage_is_computed_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reference.cache");
    let trainer = |settings| Trainer::new(model(), settings, &LoraSettings::default(), 1).unwrap();
    let (mut small, mut trainer) =
        (trainer(TrainSettings { micro_tokens: 1, ..TrainSettings::default() }), trainer(TrainSettings::default()));
    let pairs = data().pairs;
    let known = |base: &str, trainer: &mut Trainer| {
        ReferenceCache::open(Some(&path), base, trainer).unwrap().logps(trainer, &pairs).unwrap()
    };
    let expected = trainer.reference_logps(&pairs).unwrap();
    assert_eq!(known("base", &mut trainer), expected);
    let size = fs::metadata(&path).unwrap().len();
    assert_eq!(known("base", &mut trainer), expected);
    assert_eq!((size, fs::metadata(&path).unwrap().len()), (360, 360), "a known pair was computed again");
    // A flipped bit in the first record, and a torn last one.
    let mut bytes = fs::read(&path).unwrap();
    bytes[20] ^= 1;
    fs::write(&path, &bytes[..350]).unwrap();
    assert_eq!(known("base", &mut trainer), expected);
    assert_eq!(fs::metadata(&path).unwrap().len(), 9 * 36 + 2 * 36);
    known("another", &mut trainer);
    assert_eq!(fs::metadata(&path).unwrap().len(), 21 * 36);
    // Other passes round otherwise.
    known("base", &mut small);
    assert_eq!(fs::metadata(&path).unwrap().len(), 31 * 36);
}

/// Training starts from an adapter that is also the reference: nothing separates them yet.
#[test]
fn the_adapter_at_the_start_can_be_the_reference() {
    let model = model();
    let mut start = Adapter::new(&model.config, &LoraSettings::default(), 1).unwrap();
    common::fill(&mut start, 3);
    let pairs = data().pairs;
    for loss in [LossKind::Dpo, LossKind::Kto] {
        let settings = TrainSettings {
            loss,
            reference: obvert_trainer::settings::ReferenceKind::Start,
            ..TrainSettings::default()
        };
        let mut trainer = Trainer::with_adapter(model.clone(), settings, start.clone()).unwrap();
        let reference = trainer.reference_logps(&pairs).unwrap();
        assert_ne!(reference, obvert_trainer::logprobs(&model, None, &pairs).unwrap());
        let expected = if loss == LossKind::Dpo { std::f64::consts::LN_2 } else { 0.5 };
        assert!((trainer.step(&pairs, &reference).unwrap().batch.loss - expected).abs() < 1e-5);
    }
}

/// z is the mean log-ratio of every prompt with the next pair's responses, where it is positive; a join that the model
/// does not take is left out of it.
#[test]
fn kto_compares_with_mismatched_responses() {
    let model: Arc<Model> = Arc::new(random_model(&tiny_config(json!({ "max_position_embeddings": 20 })), 5));
    let settings = TrainSettings {
        loss: LossKind::Kto,
        lr: 3e-2,
        warmup_ratio: Some(0.0),
        total_steps: 9,
        ..TrainSettings::default()
    };
    let mut trainer = Trainer::new(model.clone(), settings, &LoraSettings::default(), 1).unwrap();
    // Prompts grow; the last has the shortest responses, which the prompt before it is joined with.
    let mut pairs = random_pairs(4, 37, [6, 9, 8], 9);
    pairs[3] = TokenPair { prompt: vec![5; 15], chosen: vec![6; 5], rejected: vec![7, 8], gap: 1.0 };
    let reference = trainer.reference_logps(&pairs).unwrap();
    for _ in 0..5 {
        trainer.step(&pairs, &reference).unwrap();
    }
    let join = |prompt: usize, next: usize| TokenPair { prompt: pairs[prompt].prompt.clone(), ..pairs[next].clone() };
    // Prompt 3 with the responses of pair 0 is 24 tokens long.
    let joins = [join(0, 1), join(1, 2), join(2, 3)];
    let logps = |adapter, pairs: &[TokenPair]| obvert_trainer::logprobs(&model, adapter, pairs).unwrap();
    let adapter = trainer.adapter().unwrap().into_owned();
    let policy = logps(Some(&adapter), &joins);
    let ratios =
        policy.iter().zip(logps(None, &joins)).flat_map(|(p, r)| [p.chosen - r.chosen, p.rejected - r.rejected]);
    let z = ratios.sum::<f64>() / 6.0;
    let (beta, sigmoid) = (0.1, |x: f64| 1.0 / (1.0 + (-x).exp()));
    let policy = logps(Some(&adapter), &pairs);
    let loss = |z: f64| {
        let terms = policy.iter().zip(&reference).map(|(p, r)| {
            2.0 - sigmoid(beta * (p.chosen - r.chosen - z)) - sigmoid(beta * (z - (p.rejected - r.rejected)))
        });
        terms.sum::<f64>() / 8.0
    };
    assert!(z > 0.0 && (loss(z) - loss(0.0)).abs() > 1e-4, "z is {z}: nothing is tested");
    let found = trainer.evaluate(&pairs, &reference).unwrap().loss;
    assert!((found - loss(z)).abs() < 1e-6, "{found}, expected {}", loss(z));
    assert!((trainer.step(&pairs, &reference).unwrap().batch.loss - loss(z)).abs() < 1e-6);
}

/// A batch of one has no other pair to be compared with, and a short last batch may be one of one.
#[test]
fn kto_takes_a_batch_of_one() {
    let settings = TrainSettings { loss: LossKind::Kto, lr: 1e-2, warmup_ratio: Some(0.0), ..TrainSettings::default() };
    let mut trainer = Trainer::new(model(), settings, &LoraSettings::default(), 1).unwrap();
    let pairs = &data().pairs[..1];
    let reference = trainer.reference_logps(pairs).unwrap();
    let losses = [0, 1].map(|_| trainer.step(pairs, &reference).unwrap().batch.loss);
    assert!((losses[0] - 0.5).abs() < 1e-5 && losses[1] < losses[0], "{losses:?}");
}

/// What SFT does not look at is neither computed nor reported.
#[test]
fn sft_reports_nothing_of_rejected_responses() {
    let settings = TrainSettings { loss: LossKind::Sft, ..TrainSettings::default() };
    let mut trainer = Trainer::new(model(), settings, &LoraSettings::default(), 1).unwrap();
    let pairs = data().pairs;
    let reference = trainer.reference_logps(&pairs).unwrap();
    let held = trainer.evaluate(&pairs, &reference).unwrap();
    let metrics = trainer.step(&pairs, &reference).unwrap();
    assert_eq!(metrics.tokens, pairs.iter().map(|pair| pair.prompt.len() + pair.chosen.len()).sum::<usize>());
    assert!((metrics.batch.loss - held.loss).abs() < 1e-5);
    for measures in [held, metrics.batch] {
        assert!(measures.logps_rejected.is_nan() && measures.margins.is_nan() && measures.accuracies.is_nan());
        assert!(measures.logps_chosen < 0.0);
    }
}
