//! The device's passes against the CPU's, on the simulation of a GPU.

// Helpers of tests are tests too, which clippy's configuration cannot see.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use common::{
    MODELS, fill, fixture, flat, quantised_models, random_pairs, relative_l2, shared, stored_model, tiny_config,
};
use half::bf16;
use obvert_device::cuda::Cuda;
use obvert_device::simulation::{Order, Program};
use obvert_device::{Device, Stored};
use obvert_trainer::checkpoint;
use obvert_trainer::compute::{Compute, Learner};
use obvert_trainer::device::{DeviceLearner, DeviceModel, MemoryPlan, Planned};
use obvert_trainer::gradient::{Batch, BatchGradient, Reference, Scored};
use obvert_trainer::load::quant::GgmlType;
use obvert_trainer::loss::{Ipo, PreferenceLoss, Rpo};
use obvert_trainer::passes::Passes;
use obvert_trainer::peers::{Alone, Peers};
use obvert_trainer::settings::{Activations, LossKind};
use obvert_trainer::{
    Adapter, Config, LoraSettings, Model, Projection, ResponseLogps, Storage, TokenPair, TrainSettings, Trainer,
};
use serde_json::json;

/// A device that stores floats and one that stores bfloat16; nothing where there is no C++ compiler.
fn devices(test: &str) -> Option<(Device<f32>, Device<bf16>)> {
    let Some(programs) = Program::both() else {
        eprintln!("SKIPPED: {test}: no C++ compiler");
        return None;
    };
    let [exact, rounded] = programs.unwrap_or_else(|error| panic!("{error}"));
    Some((exact.start(Order::Forward).unwrap(), rounded.start(Order::Forward).unwrap()))
}

/// A model, an adapter that does something, pairs, and their log-probs under the reference.
struct Case {
    model: Arc<Model>,
    adapter: Adapter,
    pairs: Vec<TokenPair>,
    reference: Vec<ResponseLogps>,
}

impl Case {
    fn new(config: &Config, targets: &[Projection], pairs: Vec<TokenPair>) -> Self {
        // Weights that bfloat16 holds: a device that stores it computes with the same.
        let round = |value| bf16::from_f64(value).to_f64();
        let model: Arc<Model> = Arc::new(stored_model(config, 3, Storage::F32, round));
        let settings = LoraSettings { rank: 3, alpha: 6.0, targets: targets.to_vec() };
        let mut adapter = Adapter::new(config, &settings, 1).unwrap();
        fill(&mut adapter, 2);
        let values = adapter.matrices_mut().flat_map(|matrix| &mut matrix.data);
        values.for_each(|value| *value = round(f64::from(*value)) as f32);
        let reference = obvert_trainer::logprobs(&model, None, &pairs).unwrap();
        Self { model, adapter, pairs, reference }
    }

    fn compared(&self) -> Reference<'_> {
        Reference { logps: &self.reference, mismatched: 0.0 }
    }

    fn on_cpu(&self, loss: &dyn PreferenceLoss) -> BatchGradient<f32> {
        Passes::default().batch_gradient(&self.model, &self.adapter, &self.pairs, self.compared(), loss).unwrap()
    }

    fn on<F: Stored + Debug>(
        &self,
        device: &Device<F>,
        micro_tokens: usize,
        activations: Activations,
    ) -> DeviceLearner<F> {
        let passes = (micro_tokens, activations);
        DeviceLearner::new(device.clone(), &self.model, self.adapter.clone(), passes).unwrap()
    }

    /// Loss and gradient as a device computes them.
    fn gradient<F: Stored + Debug>(
        &self,
        device: &mut DeviceLearner<F>,
        loss: &dyn PreferenceLoss,
    ) -> BatchGradient<f32> {
        let batch = Batch::new(loss, &self.pairs, self.compared()).unwrap();
        let Scored { loss, logps } = device.gradient(&batch, 0..self.pairs.len()).unwrap();
        BatchGradient { loss, logps, gradient: device.last_gradient().unwrap() }
    }

    /// Compares RPO's gradients on a device that stores bfloat16.
    fn assert_rounded(&self, name: &str, device: &Device<bf16>, expected: &BatchGradient<f32>) {
        let mut model = self.on(device, 512, Activations::Keep);
        let found = self.gradient(&mut model, &RPO);
        let [gradient, rest] = self.apart(&found, expected);
        eprintln!("{name} in bfloat16: gradients off by {gradient:.1e}, the rest by {rest:.1e}");
        // Some thirty roundings of 2⁻⁹ lie between a gradient and what it is made of, in sums of a dozen terms.
        assert!(gradient < 0.1 && rest < 0.02, "{name}: gradients off by {gradient:.1e}, the rest by {rest:.1e}");
    }

    /// The greatest relative error of any matrix's gradient, and that of the loss and the log-probs.
    fn apart(&self, found: &BatchGradient<f32>, expected: &BatchGradient<f32>) -> [f64; 2] {
        let pairs = found.gradient.matrices().zip(expected.gradient.matrices());
        let gradient = pairs.map(|(a, b)| relative_l2(&a.data, &flat(b))).fold(0.0, f64::max);
        let logps = found.logps.iter().zip(&expected.logps).flat_map(|(a, b)| {
            [(a.chosen - b.chosen) / b.chosen, (a.rejected - b.rejected) / b.rejected].map(f64::abs)
        });
        [gradient, logps.fold((found.loss - expected.loss).abs(), f64::max)]
    }
}

const RPO: Rpo = Rpo { beta: 0.1, gamma: 0.05, margin: obvert_trainer::loss::Margin::Paper };

fn cases() -> Vec<(&'static str, Case)> {
    let llama = tiny_config(json!({ "num_attention_heads": 4, "num_key_value_heads": 2 }));
    let qwen = tiny_config(json!({ "model_type": "qwen2", "tie_word_embeddings": true }));
    let pairs = |config: &Config| random_pairs(3, config.vocab_size, [6, 5, 4], 4);
    let mut uneven = pairs(&qwen);
    uneven[1].chosen.truncate(1);
    vec![
        ("llama, all projections", Case::new(&llama, &Projection::ALL, pairs(&llama))),
        ("qwen2, biases, tied", Case::new(&qwen, &Projection::ALL, uneven)),
        ("two projections", Case::new(&llama, &[Projection::K, Projection::Down], pairs(&llama))),
        ("none of q, k and v", Case::new(&llama, &[Projection::O, Projection::Up], pairs(&llama))),
    ]
}

#[test]
fn log_probs_and_gradients_are_those_of_the_cpu() {
    let Some((exact, rounded)) = devices("log_probs_and_gradients_are_those_of_the_cpu") else { return };
    for (name, case) in cases() {
        let expected = case.on_cpu(&RPO);
        let mut device = case.on(&exact, 512, Activations::Keep);
        let found = case.gradient(&mut device, &RPO);
        let [gradient, rest] = case.apart(&found, &expected);
        assert!(gradient < 1e-4 && rest < 1e-5, "{name}: gradients off by {gradient:.1e}, the rest by {rest:.1e}");
        // Without its adapter the device still computes the base.
        let base = device.logprobs(None, &case.pairs).unwrap();
        let off = base.iter().zip(&case.reference).map(|(a, b)| (a.chosen - b.chosen).abs()).fold(0.0, f64::max);
        assert!(off < 1e-4, "{name}: base off by {off:.1e}");
        case.assert_rounded(name, &rounded, &expected);
    }
}

/// The base stays in a file's blocks on the device, with biases and an adapter beside them.
#[test]
fn a_quantised_base_computes_what_the_widened_one_does() {
    let Some((exact, _)) = devices("a_quantised_base_computes_what_the_widened_one_does") else { return };
    let config = tiny_config(json!({
        "model_type": "qwen2", "tie_word_embeddings": true, "hidden_size": 32, "head_dim": 16,
        "intermediate_size": 256,
    }));
    let [blocks, wide] = quantised_models(&config, |value| value).map(Arc::new);
    for targets in [&Projection::ALL[..], &[Projection::V, Projection::Down]] {
        let pairs = random_pairs(2, config.vocab_size, [6, 5, 4], 4);
        let case = |model: &Arc<Model>| Case { model: Arc::clone(model), ..Case::new(&config, targets, pairs.clone()) };
        let (blocks, wide) = (case(&blocks), case(&wide));
        let expected = wide.on_cpu(&RPO);
        let found = blocks.gradient(&mut blocks.on(&exact, 512, Activations::Keep), &RPO);
        let [gradient, rest] = blocks.apart(&found, &expected);
        assert!(gradient < 1e-4 && rest < 1e-5, "{targets:?}: gradients off by {gradient:.1e}, the rest by {rest:.1e}");
        // After another adapter, the base alone, and back.
        let mut device = blocks.on(&exact, 512, Activations::Keep);
        let before = device.policy(&blocks.pairs).unwrap();
        let base = device.logprobs(None, &blocks.pairs).unwrap();
        let off = base.iter().zip(obvert_trainer::logprobs(&wide.model, None, &blocks.pairs).unwrap());
        assert!(off.map(|(a, b)| (a.chosen - b.chosen).abs()).fold(0.0, f64::max) < 1e-4, "{targets:?}");
        assert_eq!(device.policy(&blocks.pairs).unwrap(), before);
    }
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_to_score_is_zero() {
    let Some((exact, _)) = devices("what_does_not_fit_is_refused_and_nothing_to_score_is_zero") else { return };
    let cases = cases();
    let mut device = cases[0].1.on(&exact, 512, Activations::Keep);
    let error = device.logprobs(Some(&cases[2].1.adapter), &cases[0].1.pairs).unwrap_err().to_string();
    assert!(error.contains("another rank or for other projections"), "{error}");
    let silent = TokenPair { prompt: vec![1, 2], chosen: vec![], rejected: vec![], gap: 0.0 };
    assert_eq!(device.logprobs(None, &[silent]).unwrap(), [ResponseLogps::default()]);
}

/// The same on a real GPU, where there is one, at sizes that its tiles are made for.
#[test]
fn a_gpu_agrees_with_the_cpu() {
    if Cuda::count() == 0 {
        return eprintln!("SKIPPED: a_gpu_agrees_with_the_cpu: no GPU");
    }
    let device = Cuda::start(0).unwrap();
    let large = tiny_config(json!({
        "hidden_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64,
        "intermediate_size": 704, "vocab_size": 9000, "max_position_embeddings": 1024,
    }));
    let pairs = random_pairs(3, large.vocab_size, [150, 90, 70], 4);
    let mut all = cases();
    all.push(("of realistic sizes", Case::new(&large, &Projection::ALL, pairs)));
    for (name, case) in all {
        case.assert_rounded(name, &device, &case.on_cpu(&RPO));
    }
}

#[test]
fn passes_and_recomputing_change_nothing() {
    let Some((exact, _)) = devices("passes_and_recomputing_change_nothing") else { return };
    let (_, case) = cases().remove(0);
    // IPO's terms read their own pair, KTO's the whole batch.
    let kto = TrainSettings { loss: LossKind::Kto, ..TrainSettings::default() }.preference_loss();
    let ipo = Ipo { beta: 0.1, average: obvert_trainer::loss::Average::Sum };
    for loss in [&ipo as &dyn PreferenceLoss, kto.as_ref()] {
        let expected = case.on_cpu(loss);
        let gradient = |micro_tokens, activations| {
            let mut device = case.on(&exact, micro_tokens, activations);
            case.gradient(&mut device, loss)
        };
        let (kept, recomputed) = (gradient(1, Activations::Keep), gradient(1, Activations::Recompute));
        assert!(kept.gradient == recomputed.gradient && kept.loss.to_bits() == recomputed.loss.to_bits());
        let [gradient, rest] = case.apart(&kept, &expected);
        assert!(gradient < 1e-4 && rest < 1e-5, "{loss:?}: gradients off by {gradient:.1e}, the rest by {rest:.1e}");
    }
}

/// The greatest relative distance between two matrices of adapters.
fn distance(found: &Adapter, expected: &Adapter) -> f64 {
    found.matrices().zip(expected.matrices()).map(|(a, b)| relative_l2(&a.data, &flat(b))).fold(0.0, f64::max)
}

/// A process that is a thread: the other's bytes come through a channel.
#[derive(Debug)]
struct Beside(usize, Sender<Vec<u8>>, Receiver<Vec<u8>>);

impl Peers for Beside {
    fn index(&self) -> usize {
        self.0
    }

    fn count(&self) -> usize {
        2
    }

    fn gather(&mut self, own: Vec<u8>) -> Result<Vec<Vec<u8>>, obvert_trainer::Error> {
        self.1.send(own.clone()).unwrap();
        let other = self.2.recv().unwrap();
        Ok(if self.0 == 0 { vec![own, other] } else { vec![other, own] })
    }

    fn leave(self: Box<Self>) -> Result<(), obvert_trainer::Error> {
        Ok(())
    }
}

#[test]
fn two_devices_learn_what_one_does() {
    let Some((exact, _)) = devices("two_devices_learn_what_one_does") else { return };
    let (_, case) = cases().remove(0);
    let settings = TrainSettings { lr: 1e-2, total_steps: 2, warmup_ratio: Some(0.0), ..TrainSettings::default() };
    let learn = |device: &Device<f32>, peers: Box<dyn Peers>| {
        let device = Box::new(case.on(device, 512, Activations::Keep));
        let trainer = Trainer::with_adapter(Arc::clone(&case.model), settings.clone(), case.adapter.clone()).unwrap();
        let mut trainer = trainer.learning_on(device).beside(peers);
        for _ in 0..2 {
            trainer.step(&case.pairs, &case.reference).unwrap();
        }
        trainer.adapter().unwrap().into_owned()
    };
    let (other, ((to_second, from_first), (to_first, from_second))) = (devices("").unwrap().0, (channel(), channel()));
    let [first, second] = std::thread::scope(|scope| {
        let second = scope.spawn(|| learn(&other, Box::new(Beside(1, to_first, from_first))));
        let first = learn(&exact, Box::new(Beside(0, to_second, from_second)));
        [first, second.join().unwrap()]
    });
    assert!(first == second, "the two have other adapters");
    let apart = distance(&first, &learn(&exact, Box::new(Alone)));
    assert!(apart < 1e-5, "adapters are {apart:.1e} apart");
}

/// What is planned before anything is loaded is what is allocated, and little more.
#[test]
fn the_memory_plan_is_what_is_allocated() {
    if devices("the_memory_plan_is_what_is_allocated").is_none() {
        return;
    }
    let sizes = json!({
        "hidden_size": 64, "head_dim": 32, "intermediate_size": 256, "vocab_size": 300, "num_hidden_layers": 4,
    });
    let (config, keep) = (tiny_config(sizes), Activations::Keep);
    let [blocks, wide] = quantised_models(&config, |value| value).map(Arc::new);
    // Hardly any prompt: every token but the last is a target.
    let pairs = random_pairs(1, config.vocab_size, [1, 20, 20], 4);
    for (name, model, activations) in
        [("dense", &wide, keep), ("recomputed", &wide, Activations::Recompute), ("quantised", &blocks, keep)]
    {
        let device = devices("").unwrap().1;
        let case = Case { model: Arc::clone(model), ..Case::new(&config, &Projection::ALL, pairs.clone()) };
        let rows = pairs[0].packed_tokens();
        case.gradient(&mut case.on(&device, rows, activations), &RPO);
        let planned = Planned {
            config: &config,
            adapter: (case.adapter.rank, &Projection::ALL),
            micro_tokens: rows,
            activations,
        };
        let plan = MemoryPlan::of_model::<bf16>(model, planned);
        // The simulation needs no library for products.
        let (planned, used) = (plan.total() - (32 << 20), device.memory().unwrap().most_used);
        eprintln!("{name}: {planned} bytes planned, {used} used");
        assert!(used <= planned && planned <= used * 21 / 20, "{name}: {planned} bytes planned, {used} used\n{plan}");
    }
}

/// Llama-3.1-70B with an adapter of rank 16 on one H200, which has 141 GB: only with a quantised base.
#[test]
fn a_base_of_70_billion_fits_one_card_in_blocks() {
    let config = tiny_config(json!({
        "vocab_size": 128_256, "hidden_size": 8192, "num_hidden_layers": 80, "num_attention_heads": 64,
        "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 28_672, "max_position_embeddings": 131_072,
    }));
    let plan = |kind: Option<GgmlType>, micro_tokens, activations| {
        let planned = Planned { config: &config, adapter: (16, &Projection::ALL), micro_tokens, activations };
        let plan = MemoryPlan::new::<bf16>(planned, |_, _| kind);
        eprintln!("{kind:?}, {micro_tokens} tokens, {activations:?}:\n{plan}");
        plan.check(141_000_000_000).is_ok()
    };
    assert!(plan(Some(GgmlType::Q4_0), 4_096, Activations::Keep));
    assert!(plan(Some(GgmlType::Q8_0), 16_384, Activations::Recompute));
    assert!(!plan(Some(GgmlType::Q8_0), 16_384, Activations::Keep));
    assert!(!plan(None, 1_024, Activations::Recompute));
}

#[test]
fn a_plan_that_does_not_fit_says_what_would() {
    let config = tiny_config(json!({ "hidden_size": 64, "intermediate_size": 256 }));
    let planned =
        Planned { config: &config, adapter: (3, &Projection::ALL), micro_tokens: 100, activations: Activations::Keep };
    let plan = MemoryPlan::new::<bf16>(planned, |_, _| None);
    plan.check(plan.total()).unwrap();
    for (free, expected) in [
        (plan.total() - 1, "activations = \"recompute\""),
        (plan.total() - plan.activations - 1, "a lower rank"),
        (plan.weights - 1, "storage = \"file\""),
    ] {
        let error = plan.check(free).unwrap_err().to_string();
        assert!(error.starts_with("device: ") && error.contains(expected) && error.contains("weights "), "{error}");
    }
}

#[test]
fn three_updates_end_where_the_cpu_ends() {
    let Some((exact, _)) = devices("three_updates_end_where_the_cpu_ends") else { return };
    let (_, case) = cases().remove(0);
    // Clipped: the norm is about 5.
    let settings = TrainSettings {
        lr: 1e-2,
        total_steps: 3,
        warmup_ratio: Some(0.0),
        weight_decay: 0.1,
        max_grad_norm: 0.5,
        ..TrainSettings::default()
    };
    let trainer = || Trainer::with_adapter(Arc::clone(&case.model), settings.clone(), case.adapter.clone()).unwrap();
    let device = || trainer().learning_on(Box::new(case.on(&exact, 20, Activations::Keep)));
    let (mut cpu, mut device, mut resumed) = (trainer(), device(), device());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("checkpoint");
    for step in 0..3 {
        let [expected, found] =
            [&mut cpu, &mut device].map(|trainer| trainer.step(&case.pairs, &case.reference).unwrap());
        let off = [expected.batch.loss - found.batch.loss, expected.grad_norm - found.grad_norm].map(f64::abs);
        assert!(off[0] < 1e-5 && off[1] < 1e-3, "step {step}: {found:?}, expected {expected:?}");
        if step == 1 {
            device.save(&file, &json!(null)).unwrap();
        }
    }
    let [apart, moved] =
        [&*cpu.adapter().unwrap(), &case.adapter].map(|from| distance(&device.adapter().unwrap(), from));
    assert!(apart < 1e-4 && moved > 1e-2, "adapters are {apart:.1e} apart, and moved by {moved:.1e}");
    // Another device goes on from the checkpoint, bit for bit.
    resumed.resume(checkpoint::load(&file).unwrap().0).unwrap();
    resumed.step(&case.pairs, &case.reference).unwrap();
    assert!(*resumed.adapter().unwrap() == *device.adapter().unwrap(), "another adapter after going on");
}

#[test]
fn the_adapter_learns_on_after_another_one_was_scored() {
    let Some((exact, _)) = devices("the_adapter_learns_on_after_another_one_was_scored") else { return };
    let (_, case) = cases().remove(0);
    let mut device = case.on(&exact, 512, Activations::Keep);
    let before = device.policy(&case.pairs).unwrap();
    let mut other = case.adapter.clone();
    fill(&mut other, 9);
    assert_ne!(device.logprobs(Some(&other), &case.pairs).unwrap(), before);
    assert_eq!(device.policy(&case.pairs).unwrap(), before);
}

#[test]
fn the_device_agrees_with_the_fixtures() {
    let test = "the_device_agrees_with_the_fixtures";
    let (Some(shared), Some((exact, _))) = (shared(test), devices(test)) else { return };
    for name in MODELS {
        let fixture = fixture::<f32>(&shared, name);
        let pairs: Vec<TokenPair> = fixture.batch.pairs.iter().take(1).cloned().collect();
        let expected = obvert_trainer::logprobs(&fixture.model, Some(&fixture.adapter), &pairs).unwrap();
        let adapter = (fixture.adapter.rank, &*fixture.adapter.targets());
        let passes = (512, Activations::Keep);
        let mut device = DeviceModel::new(exact.clone(), &fixture.model, adapter, passes).unwrap();
        let found = device.logprobs(Some(&fixture.adapter), &pairs).unwrap();
        for (found, expected) in found.iter().zip(&expected) {
            let off = (found.chosen - expected.chosen).abs().max((found.rejected - expected.rejected).abs());
            assert!(off < 1e-3, "{name}: {found:?}, expected {expected:?}");
        }
    }
}
