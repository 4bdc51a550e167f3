//! Runs: the same input gives the same bits, a resumed run continues bit for bit, and failures change nothing.

// Helpers of tests are tests too, which clippy's configuration cannot see.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::sync::Arc;

use common::{random_model, random_pairs, tiny_config};
use obvert_trainer::{Error, LoraSettings, TokenPair, TrainSettings, Trainer, checkpoint};
use serde_json::json;

/// Large enough for products on several threads, and for several passes.
fn trainer() -> (Trainer<f32>, Vec<TokenPair>) {
    let config = tiny_config(json!({
        "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
        "intermediate_size": 160, "vocab_size": 300,
    }));
    let settings = TrainSettings { total_steps: 8, lr: 1e-2, micro_tokens: 200, ..TrainSettings::default() };
    let pairs = random_pairs(6, config.vocab_size, [40, 20, 25], 9);
    let model = Arc::new(random_model(&config, 5));
    (Trainer::new(model, settings, &LoraSettings::default(), 42).unwrap(), pairs)
}

fn bits(trainer: &Trainer<f32>) -> Vec<u32> {
    trainer.adapter().unwrap().matrices().flat_map(|m| m.data.iter().map(|v| v.to_bits())).collect()
}

fn run(trainer: &mut Trainer<f32>, pairs: &[TokenPair], steps: usize) -> Vec<f64> {
    let reference = trainer.reference_logps(pairs).unwrap();
    (0..steps).map(|_| trainer.step(pairs, &reference).unwrap().batch.loss).collect()
}

#[test]
fn the_loss_falls_and_runs_repeat_bit_for_bit() {
    let (mut first, pairs) = trainer();
    let (mut second, _) = trainer();
    let losses = run(&mut first, &pairs, 8);
    assert_eq!(losses, run(&mut second, &pairs, 8));
    assert_eq!(bits(&first), bits(&second));
    // The first update is warm-up's, with rate 0; before it the adapter does nothing, so only the margin counts.
    let expected: f64 = (1..=6).map(|g| (1.0 + (0.05 * f64::from(g)).exp()).ln()).sum::<f64>() / 6.0;
    assert!((losses[0] - expected).abs() < 1e-4, "{losses:?}");
    assert!(losses[7] < 0.5 * losses[1], "{losses:?}");
}

#[test]
fn a_steady_run_asks_for_no_more_memory() {
    // One thread: with more, which of them sees the longest pairs first is chance.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let (mut trainer, pairs) = pool.install(trainer);
    run(&mut trainer, &pairs, 1);
    let memory = trainer.working_memory();
    run(&mut trainer, &pairs[..5], 2);
    run(&mut trainer, &pairs, 2);
    assert!(memory > 0);
    assert_eq!(trainer.working_memory(), memory);
}

#[test]
fn the_number_of_threads_does_not_change_the_bits() {
    let adapters = [1, 2, 5].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (mut trainer, pairs) = pool.install(trainer);
        let losses = run(&mut trainer, &pairs, 3);
        (losses, bits(&trainer))
    });
    assert!(adapters[1..].iter().all(|other| *other == adapters[0]));
}

#[test]
fn a_resumed_run_continues_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    let (mut straight, pairs) = trainer();
    run(&mut straight, &pairs, 6);
    let (mut stopped, _) = trainer();
    run(&mut stopped, &pairs, 2);
    stopped.save(&path, &json!({"epoch": 1, "at": [3, "x"]})).unwrap();
    run(&mut stopped, &pairs, 1);
    stopped.save(&path, &json!({"epoch": 2})).unwrap();
    let (mut resumed, _) = trainer();
    let (state, cursor) = checkpoint::load(&path).unwrap();
    resumed.resume(state).unwrap();
    assert_eq!((cursor, resumed.steps()), (json!({"epoch": 2}), 3));
    run(&mut resumed, &pairs, 3);
    assert_eq!(bits(&straight), bits(&resumed));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file was left");
}

#[test]
fn damaged_checkpoints_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    let (mut trainer, pairs) = trainer();
    run(&mut trainer, &pairs, 1);
    trainer.save(&path, &json!(null)).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let load = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        checkpoint::load::<f32>(&path).unwrap_err().to_string()
    };
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for (bytes, message) in [
        (&flipped[..], "the checkpoint is damaged: its checksum does not match"),
        (&whole[..whole.len() - 1], "not a whole safetensors file"),
        (&whole[..0], "not a whole safetensors file"),
    ] {
        let found = load(bytes);
        assert!(found.contains(message) && found.contains("state.safetensors"), "{found}");
    }
    // A changed step is noticed as well as a changed weight.
    let field = br#"step\\\":"#;
    let at = whole.windows(field.len()).position(|part| part == field).unwrap() + field.len();
    let mut moved = whole.clone();
    moved[at] = b'7';
    let found = load(&moved);
    assert!(found.contains("checksum"), "{found}");
}

#[test]
fn a_state_of_another_adapter_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    let (trainer, _) = trainer();
    trainer.save(&path, &json!(null)).unwrap();
    let mut shallow = trainer.model().config.clone();
    shallow.layers = 1;
    let lora = LoraSettings { alpha: 32.0, ..LoraSettings::default() };
    for (model, lora, message) in [
        (Arc::new(random_model(&shallow, 1)), LoraSettings::default(), "the adapter has 2 blocks, the model 1"),
        (trainer.model().clone(), lora, "another rank, alpha or other targets"),
    ] {
        let mut other = Trainer::new(model, TrainSettings::default(), &lora, 1).unwrap();
        let before = bits(&other);
        let error = other.resume(checkpoint::load(&path).unwrap().0).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
        assert_eq!((bits(&other), other.steps()), (before, 0));
    }
}

#[test]
fn a_loss_that_is_not_finite_leaves_the_adapter() {
    let (mut trainer, pairs) = trainer();
    let mut model = (**trainer.model()).clone();
    model.final_norm[3] = f32::NAN;
    let settings = TrainSettings::default();
    let mut broken = Trainer::with_adapter(Arc::new(model), settings, trainer.adapter().unwrap().into_owned()).unwrap();
    let reference = trainer.reference_logps(&pairs).unwrap();
    let error = broken.step(&pairs, &reference).unwrap_err();
    assert!(matches!(error, Error::NonFinite { step: 1, what: "the loss", .. }), "{error}");
    assert_eq!((bits(&broken), broken.steps()), (bits(&trainer), 0));
}

#[test]
fn metrics_follow_their_definitions() {
    let (mut trainer, pairs) = trainer();
    run(&mut trainer, &pairs, 4);
    let reference = trainer.reference_logps(&pairs).unwrap();
    let policy = obvert_trainer::logprobs(trainer.model(), Some(&trainer.adapter().unwrap()), &pairs).unwrap();
    let metrics = trainer.step(&pairs, &reference).unwrap();
    let mean = |f: &dyn Fn(usize) -> f64| (0..6).map(f).sum::<f64>() / 6.0;
    let chosen = |i: usize| 0.1 * (policy[i].chosen - reference[i].chosen);
    let rejected = |i: usize| 0.1 * (policy[i].rejected - reference[i].rejected);
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-3, "{a} {b}");
    close(metrics.batch.rewards_chosen, mean(&chosen));
    close(metrics.batch.rewards_rejected, mean(&rejected));
    close(metrics.batch.margins, mean(&|i| chosen(i) - rejected(i)));
    close(metrics.batch.accuracies, mean(&|i| if chosen(i) > rejected(i) { 1.0 } else { 0.0 }));
    close(metrics.batch.logps_chosen, mean(&|i| policy[i].chosen));
    let margin = |i: usize| chosen(i) - rejected(i) - 0.05 * f64::from(pairs[i].gap);
    close(metrics.batch.loss, mean(&|i| (1.0 + (-margin(i)).exp()).ln()));
    let both = |p: &TokenPair| 2 * p.prompt.len() + p.chosen.len() + p.rejected.len();
    assert_eq!(metrics.tokens, pairs.iter().map(both).sum::<usize>());
    let json = serde_json::to_value(metrics).unwrap();
    assert!(json.get("rewards/accuracies").is_some() && json.get("logps/chosen").is_some());
}
