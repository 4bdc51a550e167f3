//! What is computed on the device and on the CPU.

use std::fmt::Debug;
use std::sync::Arc;

use half::bf16;
use obvert_device::simulation::{Order, Program};
use obvert_device::{Device, Stored};
use obvert_trainer::compute::Learner;
use obvert_trainer::device::DeviceLearner;
use obvert_trainer::gradient::{Batch, BatchGradient, Reference, Scored};
use obvert_trainer::loss::{PreferenceLoss, Rpo};
use obvert_trainer::passes::Passes;
use obvert_trainer::settings::Activations;
use obvert_trainer::{
    Adapter, Config, LoraSettings, Model, Projection, ResponseLogps, Storage, TokenPair, TrainSettings, Trainer,
};
use serde_json::json;

use crate::common::{fill, flat, random_pairs, relative_l2, stored_model, tiny_config};

/// A device that stores floats and one that stores bfloat16; nothing where there is no C++ compiler.
pub fn devices(test: &str) -> Option<(Device<f32>, Device<bf16>)> {
    let Some(programs) = Program::both() else {
        eprintln!("SKIPPED: {test}: no C++ compiler");
        return None;
    };
    let [exact, rounded] = programs.unwrap_or_else(|error| panic!("{error}"));
    Some((exact.start(Order::Forward).unwrap(), rounded.start(Order::Forward).unwrap()))
}

/// A model, an adapter that does something, pairs, and their log-probs under the reference.
pub struct Case {
    pub model: Arc<Model>,
    pub adapter: Adapter,
    pub pairs: Vec<TokenPair>,
    pub reference: Vec<ResponseLogps>,
}

impl Case {
    pub fn new(config: &Config, targets: &[Projection], pairs: Vec<TokenPair>) -> Self {
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

    pub fn compared(&self) -> Reference<'_> {
        Reference { logps: &self.reference, mismatched: 0.0 }
    }

    pub fn on_cpu(&self, loss: &dyn PreferenceLoss) -> BatchGradient<f32> {
        Passes::default().batch_gradient(&self.model, &self.adapter, &self.pairs, self.compared(), loss).unwrap()
    }

    pub fn on<F: Stored + Debug>(
        &self,
        device: &Device<F>,
        micro_tokens: usize,
        activations: Activations,
    ) -> DeviceLearner<F> {
        let passes = (micro_tokens, activations);
        DeviceLearner::new(device.clone(), &self.model, self.adapter.clone(), passes).unwrap()
    }

    /// Loss and gradient as a device computes them.
    pub fn gradient<F: Stored + Debug>(
        &self,
        device: &mut DeviceLearner<F>,
        loss: &dyn PreferenceLoss,
    ) -> BatchGradient<f32> {
        let batch = Batch::new(loss, &self.pairs, self.compared()).unwrap();
        let Scored { loss, logps } = device.gradient(&batch, 0..self.pairs.len()).unwrap();
        BatchGradient { loss, logps, gradient: device.last_gradient().unwrap() }
    }

    pub fn settings() -> TrainSettings {
        // Clipped: the norm is about 5.
        TrainSettings {
            lr: 1e-2,
            total_steps: 3,
            warmup_ratio: Some(0.0),
            weight_decay: 0.1,
            max_grad_norm: 0.5,
            ..TrainSettings::default()
        }
    }

    /// A trainer on the CPU.
    pub fn trainer(&self) -> Trainer {
        Trainer::with_adapter(Arc::clone(&self.model), Self::settings(), self.adapter.clone()).unwrap()
    }

    /// A trainer on a device, in several passes a batch.
    pub fn trainer_on<F: Stored + Debug>(&self, device: &Device<F>) -> Trainer {
        self.trainer().learning_on(Box::new(self.on(device, 20, Activations::Keep)))
    }

    /// Three updates on a device and on the CPU: how far apart the losses, and the adapters' ways, are.
    pub fn three_updates<F: Stored + Debug>(&self, device: &Device<F>) -> [f64; 2] {
        let (mut cpu, mut device, mut losses) = (self.trainer(), self.trainer_on(device), 0.0_f64);
        for _ in 0..3 {
            let [expected, found] = [&mut cpu, &mut device].map(|trainer| trainer.step(&self.pairs, &self.reference));
            losses = losses.max((found.unwrap().batch.loss - expected.unwrap().batch.loss).abs());
        }
        let way = |trainer: &Trainer| -> Vec<f32> {
            let (end, start) = (trainer.adapter().unwrap(), &self.adapter);
            let moved = end.matrices().zip(start.matrices()).flat_map(|(a, b)| a.data.iter().zip(&b.data));
            moved.map(|(a, b)| a - b).collect()
        };
        let expected: Vec<f64> = way(&cpu).into_iter().map(f64::from).collect();
        [losses, relative_l2(&way(&device), &expected)]
    }

    /// Compares RPO's gradients on a device that stores bfloat16.
    pub fn assert_rounded(&self, name: &str, device: &Device<bf16>, expected: &BatchGradient<f32>) {
        let mut model = self.on(device, 512, Activations::Keep);
        let found = self.gradient(&mut model, &RPO);
        let [gradient, rest] = self.apart(&found, expected);
        eprintln!("{name} in bfloat16: gradients off by {gradient:.1e}, the rest by {rest:.1e}");
        // Some thirty roundings of 2⁻⁹ lie between a gradient and what it is made of, in sums of a dozen terms.
        assert!(gradient < 0.1 && rest < 0.02, "{name}: gradients off by {gradient:.1e}, the rest by {rest:.1e}");
    }

    /// The greatest relative error of any matrix's gradient, and that of the log-probs and of the loss, where it is above one.
    pub fn apart(&self, found: &BatchGradient<f32>, expected: &BatchGradient<f32>) -> [f64; 2] {
        let pairs = found.gradient.matrices().zip(expected.gradient.matrices());
        let gradient = pairs.map(|(a, b)| relative_l2(&a.data, &flat(b))).fold(0.0, f64::max);
        let logps = found.logps.iter().zip(&expected.logps).flat_map(|(a, b)| {
            [(a.chosen - b.chosen) / b.chosen, (a.rejected - b.rejected) / b.rejected].map(f64::abs)
        });
        let loss = (found.loss - expected.loss).abs() / expected.loss.abs().max(1.0);
        [gradient, logps.fold(loss, f64::max)]
    }
}

pub const RPO: Rpo = Rpo { beta: 0.1, gamma: 0.05, margin: obvert_trainer::loss::Margin::Paper };

pub fn cases() -> Vec<(&'static str, Case)> {
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

/// The greatest relative distance between two matrices of adapters.
pub fn distance(found: &Adapter, expected: &Adapter) -> f64 {
    found.matrices().zip(expected.matrices()).map(|(a, b)| relative_l2(&a.data, &flat(b))).fold(0.0, f64::max)
}
