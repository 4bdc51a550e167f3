//! The device's passes against the CPU's, on the simulation of a GPU.

// Helpers of tests are tests too, which clippy's configuration cannot see.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::sync::{Arc, OnceLock};

use common::{MODELS, fill, fixture, flat, random_pairs, relative_l2, shared, stored_model, tiny_config};
use half::bf16;
use obvert_device::simulation::{Order, Program};
use obvert_device::{Device, Stored};
use obvert_trainer::device::DeviceModel;
use obvert_trainer::gradient::{BatchGradient, Reference};
use obvert_trainer::loss::{Ipo, PreferenceLoss, Rpo};
use obvert_trainer::passes::Passes;
use obvert_trainer::settings::{Activations, LossKind};
use obvert_trainer::{
    Adapter, Config, LoraSettings, Model, Projection, ResponseLogps, Storage, TokenPair, TrainSettings,
};
use serde_json::json;

/// A device that stores floats and one that stores bfloat16; nothing where there is no C++ compiler.
fn devices(test: &str) -> Option<(Device<f32>, Device<bf16>)> {
    static PROGRAMS: OnceLock<Option<[Arc<Program>; 2]>> = OnceLock::new();
    let compile = || {
        std::process::Command::new("c++").arg("--version").output().ok()?;
        Some([Arc::new(Program::new::<f32>().unwrap()), Arc::new(Program::new::<bf16>().unwrap())])
    };
    let programs = PROGRAMS.get_or_init(compile).as_ref();
    let Some([exact, rounded]) = programs else {
        eprintln!("SKIPPED: {test}: no C++ compiler");
        return None;
    };
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

    fn on<F: Stored>(&self, device: &Device<F>, micro_tokens: usize, activations: Activations) -> DeviceModel<F> {
        let adapter = (self.adapter.rank, &*self.adapter.targets());
        DeviceModel::new(device.clone(), Arc::clone(&self.model), adapter, (micro_tokens, activations)).unwrap()
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
    ]
}

#[test]
fn log_probs_and_gradients_are_those_of_the_cpu() {
    let Some((exact, rounded)) = devices("log_probs_and_gradients_are_those_of_the_cpu") else { return };
    for (name, case) in cases() {
        let expected = case.on_cpu(&RPO);
        let mut device = case.on(&exact, 512, Activations::Keep);
        let found = device.batch_gradient(&case.adapter, &case.pairs, case.compared(), &RPO).unwrap();
        let [gradient, rest] = case.apart(&found, &expected);
        assert!(gradient < 1e-4 && rest < 1e-5, "{name}: gradients off by {gradient:.1e}, the rest by {rest:.1e}");
        // Without its adapter the device still computes the base.
        let base = device.logprobs(None, &case.pairs).unwrap();
        let off = base.iter().zip(&case.reference).map(|(a, b)| (a.chosen - b.chosen).abs()).fold(0.0, f64::max);
        assert!(off < 1e-4, "{name}: base off by {off:.1e}");
        let mut device = case.on(&rounded, 512, Activations::Keep);
        let found = device.batch_gradient(&case.adapter, &case.pairs, case.compared(), &RPO).unwrap();
        let [gradient, rest] = case.apart(&found, &expected);
        eprintln!("{name} in bfloat16: gradients off by {gradient:.1e}, the rest by {rest:.1e}");
        // Some thirty roundings of 2⁻⁹ lie between a gradient and what it is made of, in sums of a dozen terms.
        assert!(gradient < 0.1 && rest < 0.02, "{name}: gradients off by {gradient:.1e}, the rest by {rest:.1e}");
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
            device.batch_gradient(&case.adapter, &case.pairs, case.compared(), loss).unwrap()
        };
        let (kept, recomputed) = (gradient(1, Activations::Keep), gradient(1, Activations::Recompute));
        assert!(kept.gradient == recomputed.gradient && kept.loss.to_bits() == recomputed.loss.to_bits());
        let [gradient, rest] = case.apart(&kept, &expected);
        assert!(gradient < 1e-4 && rest < 1e-5, "{loss:?}: gradients off by {gradient:.1e}, the rest by {rest:.1e}");
    }
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
        let mut device = DeviceModel::new(exact.clone(), Arc::new(fixture.model), adapter, passes).unwrap();
        let found = device.logprobs(Some(&fixture.adapter), &pairs).unwrap();
        for (found, expected) in found.iter().zip(&expected) {
            let off = (found.chosen - expected.chosen).abs().max((found.rejected - expected.rejected).abs());
            assert!(off < 1e-3, "{name}: {found:?}, expected {expected:?}");
        }
    }
}
