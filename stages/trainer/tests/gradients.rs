//! The gradient of the mean loss against central differences, on tiny random models in double precision.

// Helpers of tests are tests too, which clippy's configuration cannot see.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{fill, random_model, random_pairs, tiny_config};
use obvert_trainer::gradient::batch_gradient;
use obvert_trainer::loss::{Margin, Rpo};
use obvert_trainer::{Adapter, LoraSettings, Model, Projection, ResponseLogps, TokenPair, logprobs};
use proptest::prelude::*;

const LOSS: Rpo = Rpo { beta: 0.3, gamma: 0.05, margin: Margin::Paper };

fn loss(model: &Model<f64>, adapter: &Adapter<f64>, pairs: &[TokenPair], reference: &[ResponseLogps]) -> f64 {
    batch_gradient(model, adapter, pairs, reference, &LOSS, 8).unwrap().loss
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
    let exact = batch_gradient(&model, &adapter, &pairs, &reference, &LOSS, micro_tokens).unwrap().gradient;
    let step = 3e-5;
    for (at, gradient) in exact.matrices().enumerate() {
        // One value of every matrix, another one in every case.
        let index = case.seed as usize % gradient.data.len();
        let mut nudged = |by: f64| {
            let value = |adapter: &mut Adapter<f64>| adapter.matrices_mut().nth(at).unwrap().data[index] += by;
            value(&mut adapter);
            let loss = loss(&model, &adapter, &pairs, &reference);
            adapter.matrices_mut().nth(at).unwrap().data[index] -= by;
            loss
        };
        // Fourth order: the norm of a hidden state of few values is too curved for the second.
        let slope = |by: f64, nudged: &mut dyn FnMut(f64) -> f64| (nudged(by) - nudged(-by)) / (2.0 * by);
        let difference = (4.0 * slope(step, &mut nudged) - slope(2.0 * step, &mut nudged)) / 3.0;
        let error = (gradient.data[index] - difference).abs();
        assert!(error < 1e-7 + 1e-6 * difference.abs(), "matrix {at}[{index}]: {} {difference}", gradient.data[index]);
    }
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
