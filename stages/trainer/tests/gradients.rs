//! The gradient of the mean loss against central differences, on tiny random models in double precision.

// Helpers of tests are tests too, which clippy's configuration cannot see.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{fill, random_model, random_pairs, tiny_config};
use obvert_trainer::gradient::{BatchGradient, Reference};
use obvert_trainer::loss::{
    Average, Dpo, Iopo, Ipo, Kto, KtoBaseline, Margin, Orpo, PreferenceLoss, Rpo, Sft, Simpo, WithNll,
};
use obvert_trainer::passes::Passes;
use obvert_trainer::settings::Activations;
use obvert_trainer::{Adapter, LoraSettings, Model, Projection, ResponseLogps, TokenPair, logprobs};
use proptest::prelude::*;

const LOSS: Rpo = Rpo { beta: 0.3, gamma: 0.05, margin: Margin::Paper };

/// What the gradient of one loss is checked on.
struct Setting<'a> {
    model: &'a Model<f64>,
    pairs: &'a [TokenPair],
    reference: &'a [ResponseLogps],
    loss: &'a dyn PreferenceLoss,
}

impl Setting<'_> {
    fn gradient(&self, adapter: &Adapter<f64>, micro_tokens: usize) -> BatchGradient<f64> {
        let reference = Reference { logps: self.reference, mismatched: 0.1 };
        let passes = Passes::new(micro_tokens, Activations::Keep);
        passes.batch_gradient(self.model, adapter, self.pairs, reference, self.loss).unwrap()
    }

    /// Compares one value of every matrix with a difference of losses.
    fn check(&self, adapter: &mut Adapter<f64>, micro_tokens: usize, seed: u64) {
        let exact = self.gradient(adapter, micro_tokens).gradient;
        let step = 3e-5;
        for (at, gradient) in exact.matrices().enumerate() {
            let index = seed as usize % gradient.data.len();
            let mut nudged = |by: f64| {
                adapter.matrices_mut().nth(at).unwrap().data[index] += by;
                let loss = self.gradient(adapter, 8).loss;
                adapter.matrices_mut().nth(at).unwrap().data[index] -= by;
                loss
            };
            // Fourth order: the norm of a hidden state of few values is too curved for the second.
            let slope = |by: f64, nudged: &mut dyn FnMut(f64) -> f64| (nudged(by) - nudged(-by)) / (2.0 * by);
            let difference = (4.0 * slope(step, &mut nudged) - slope(2.0 * step, &mut nudged)) / 3.0;
            let error = (gradient.data[index] - difference).abs();
            let close = 1e-7 + 1e-6 * difference.abs();
            assert!(error < close, "{:?}: matrix {at}[{index}]: {} {difference}", self.loss, gradient.data[index]);
        }
    }
}

#[derive(Clone, Debug)]
struct Case {
    qwen: bool,
    tied: bool,
    kv_heads: usize,
    group: usize,
    half_head: usize,
    hidden: usize,
    targets: u8,
    rank: usize,
    lengths: [usize; 3],
    /// Whether the pairs are computed one by one.
    split: bool,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = (1..3usize, 1..4usize, 1..5usize, 4..12usize);
    let lengths = [1..9usize, 1..7usize, 1..7usize];
    (any::<(bool, bool)>(), sizes, 1..128u8, 1..4usize, lengths, any::<bool>(), any::<u64>()).prop_map(
        |((qwen, tied), (kv_heads, group, half_head, hidden), targets, rank, lengths, split, seed)| Case {
            qwen,
            tied,
            kv_heads,
            group,
            half_head,
            hidden,
            targets,
            rank,
            lengths,
            split,
            seed,
        },
    )
}

fn check(case: &Case) {
    let config = tiny_config(serde_json::json!({
        "model_type": if case.qwen { "qwen2" } else { "llama" },
        "tie_word_embeddings": case.tied,
        "hidden_size": case.hidden,
        "num_attention_heads": case.kv_heads * case.group,
        "num_key_value_heads": case.kv_heads,
        "head_dim": 2 * case.half_head,
    }));
    let model = random_model::<f64>(&config, case.seed);
    let targets = Projection::ALL.into_iter().filter(|p| case.targets >> p.index() & 1 == 1).collect();
    let lora = LoraSettings { rank: case.rank, alpha: 5.0, targets };
    let mut adapter = Adapter::new(&config, &lora, 1).unwrap();
    fill(&mut adapter, case.seed ^ 1);
    let pairs = random_pairs(2, config.vocab_size, case.lengths, case.seed);
    let reference = logprobs(&model, None, &pairs).unwrap();
    let micro_tokens = if case.split { 1 } else { usize::MAX };
    let setting = Setting { model: &model, pairs: &pairs, reference: &reference, loss: &LOSS };
    setting.check(&mut adapter, micro_tokens, case.seed);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn gradients_agree_with_central_differences(case in cases()) {
        check(&case);
    }
}

/// Longer than a block of attention, in every part of the pair.
#[test]
fn long_sequences_agree_too() {
    let lengths = [75, 70, 66];
    let case = Case {
        qwen: true,
        tied: false,
        kv_heads: 2,
        group: 2,
        half_head: 2,
        hidden: 7,
        targets: 127,
        rank: 2,
        lengths,
        split: false,
        seed: 11,
    };
    check(&case);
}

/// Every loss, with mirrored pairs as IOPO takes them, in one pass and in passes of one pair.
#[test]
fn every_loss_agrees() {
    let config = tiny_config(serde_json::json!({}));
    let model = random_model::<f64>(&config, 21);
    let mut adapter = Adapter::new(&config, &LoraSettings { rank: 2, ..LoraSettings::default() }, 1).unwrap();
    fill(&mut adapter, 22);
    let mut pairs = random_pairs(4, config.vocab_size, [5, 4, 3], 23);
    for at in [0, 2] {
        let mirror = TokenPair { prompt: pairs[at + 1].prompt.clone(), gap: 2.0, ..pairs[at].clone() };
        pairs[at + 1] = TokenPair { chosen: mirror.rejected.clone(), rejected: mirror.chosen.clone(), ..mirror };
    }
    let reference = logprobs(&model, None, &pairs).unwrap();
    let dpo = Dpo { beta: 0.2, label_smoothing: 0.1 };
    let kto = |baseline| Kto { beta: 0.2, desirable_weight: 1.0, undesirable_weight: 0.5, baseline };
    let losses: [&dyn PreferenceLoss; 10] = [
        &dpo,
        &LOSS,
        &Ipo { beta: 0.2, average: Average::Sum },
        &Ipo { beta: 0.2, average: Average::Mean },
        &kto(KtoBaseline::Mismatched),
        &Simpo { beta: 2.0, gamma: 1.0 },
        &Orpo { lambda: 0.5 },
        &Iopo { beta: 0.2 },
        &Sft,
        &WithNll { loss: Box::new(dpo), weight: 0.3 },
    ];
    for loss in losses {
        for micro_tokens in [1, usize::MAX] {
            Setting { model: &model, pairs: &pairs, reference: &reference, loss }.check(&mut adapter, micro_tokens, 7);
        }
    }
}
