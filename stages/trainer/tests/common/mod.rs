//! What the tests share: the numeric fixtures, and tiny random models.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

use obvert_trainer::load::quant::GgmlType;
use obvert_trainer::{
    Adapter, Config, Error, Matrix, Model, Projection, Quantised, Real, ResponseLogps, Storage, TokenPair, Weight,
    pair::Batch, peft,
};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

pub const MODELS: [&str; 3] = ["llama", "qwen2", "llama31"];

/// The shared data, or a line that says the test was skipped.
pub fn shared(test: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("OBVERT_SHARED").map_or(beside, PathBuf::from);
    let found = shared.join("fixtures").is_dir();
    if !found {
        eprintln!("SKIPPED: {test}: no shared data");
    }
    found.then_some(shared)
}

/// The tensors of a safetensors file, widened to f64.
pub struct Tensors(Vec<u8>);

impl Tensors {
    pub fn read(path: &Path) -> Self {
        Self(std::fs::read(path).unwrap())
    }

    pub fn names(&self) -> Vec<String> {
        SafeTensors::deserialize(&self.0).unwrap().names().into_iter().map(str::to_owned).collect()
    }

    pub fn get(&self, name: &str) -> (Vec<usize>, Vec<f64>) {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = file.tensor(name).unwrap();
        let values = match tensor.dtype() {
            Dtype::F32 => tensor.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b).into()).collect(),
            Dtype::F64 => tensor.data().as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            other => panic!("{name} is {other:?}"),
        };
        (tensor.shape().to_vec(), values)
    }

    pub fn values(&self, name: &str) -> Vec<f64> {
        self.get(name).1
    }
}

pub struct Fixture<F> {
    pub model: Model<F>,
    pub adapter: Adapter<F>,
    pub batch: Batch,
    pub reference: Tensors,
    pub json: Value,
}

pub fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

pub fn fixture<F: Real>(shared: &Path, name: &str) -> Fixture<F> {
    let folder = shared.join("fixtures").join(name);
    let config = Config::from_json(&json(&folder.join("model/config.json"))).unwrap();
    let tensors = Tensors::read(&folder.join("model/model.safetensors"));
    let take = |name: &str| {
        let (shape, values) = tensors.get(name);
        Ok::<_, Error>((shape, values.into_iter().map(F::from_f64).collect()))
    };
    Fixture {
        adapter: peft::load(&folder.join("adapter"), &config).unwrap(),
        batch: Batch::read(&folder.join("batch.json"), &config).unwrap(),
        model: Model::from_tensors(config, Storage::F32, take).unwrap(),
        reference: Tensors::read(&folder.join("reference.safetensors")),
        json: json(&folder.join("reference.json")),
    }
}

/// ‖found − expected‖ / ‖expected‖.
pub fn relative_l2<F: Real>(found: &[F], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let difference: f64 = found.iter().zip(expected).map(|(a, b)| (a.to_f64() - b).powi(2)).sum();
    (difference / expected.iter().map(|b| b * b).sum::<f64>()).sqrt()
}

/// Numbers that look random, uniform in ±1, and are the same everywhere.
pub fn noise(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// A model whose weights have a sensible size for their inputs.
pub fn random_model<F: Real>(config: &Config, seed: u64) -> Model<F> {
    stored_model(config, seed, Storage::F32, |value| value)
}

/// The same, with every weight changed as `round` says before it is stored.
pub fn stored_model<F: Real>(config: &Config, seed: u64, storage: Storage, round: fn(f64) -> f64) -> Model<F> {
    let mut noise = noise(seed);
    let (kv, q) = (config.kv_heads * config.head_dim, config.heads * config.head_dim);
    let (h, f, v) = (config.hidden, config.ffn, config.vocab_size);
    Model::from_tensors(config.clone(), storage, |name: &str| {
        let shape = match name.rsplit('.').nth(1).unwrap() {
            "embed_tokens" | "lm_head" => vec![v, h],
            "q_proj" if name.ends_with("bias") => vec![q],
            "k_proj" | "v_proj" if name.ends_with("bias") => vec![kv],
            "q_proj" => vec![q, h],
            "k_proj" | "v_proj" => vec![kv, h],
            "o_proj" => vec![h, q],
            "gate_proj" | "up_proj" => vec![f, h],
            "down_proj" => vec![h, f],
            _ => vec![h],
        };
        let size = (3.0 / *shape.last().unwrap() as f64).sqrt();
        let norm = name.contains("norm");
        let mut value = || round(if norm { 1.0 + 0.3 * noise() } else { size * noise() });
        let values = (0..shape.iter().product()).map(|_| F::from_f64(value())).collect();
        Ok((shape, values))
    })
    .unwrap()
}

/// A random matrix in blocks of a file, of a sensible size for its inputs.
pub fn quantised(kind: GgmlType, rows: usize, cols: usize, seed: u64) -> Quantised {
    let (weights, bytes) = kind.block();
    // Where a block has its scale and its minimum, and the greatest whole number that the scale multiplies.
    let (scale, minimum, greatest) = match kind {
        GgmlType::Q8_0 => (0, None, 128.0),
        GgmlType::Q4_0 => (0, None, 8.0),
        GgmlType::Q4_1 => (0, Some(2), 8.0),
        GgmlType::Q6K => (208, None, 128.0 * 32.0),
        other => panic!("{other:?} has no blocks"),
    };
    let (mut noise, size) = (noise(seed), (3.0 / cols as f64).sqrt());
    let half = |value: f64| half::f16::from_f64(value).to_le_bytes();
    let mut block = || {
        let mut block: Vec<u8> = (0..bytes).map(|_| ((noise() + 1.0) * 127.9) as u8).collect();
        block[scale..scale + 2].copy_from_slice(&half(size / greatest * (1.0 + 0.3 * noise())));
        minimum.into_iter().for_each(|at: usize| block[at..at + 2].copy_from_slice(&half(-size)));
        block
    };
    let bytes = (0..rows * cols / weights).flat_map(|_| block()).collect();
    Quantised { kind, rows, cols, bytes }
}

/// A model whose projections are in blocks of all types, and the same one widened.
pub fn quantised_models(config: &Config, round: fn(f64) -> f64) -> [Model; 2] {
    const KINDS: [GgmlType; 7] = [Q8_0, Q4_0, Q8_0, Q4_1, Q4_0, Q4_0, Q6K];
    use GgmlType::{Q4_0, Q4_1, Q6K, Q8_0};
    let mut model = stored_model::<f32>(config, 3, Storage::F32, round);
    let mut wide = model.clone();
    for (layer, (blocks, wide)) in model.layers.iter_mut().zip(&mut wide.layers).enumerate() {
        for (projection, kind) in Projection::ALL.into_iter().zip(KINDS) {
            let (rows, cols) = projection.shape(config);
            let matrix = quantised(kind, rows, cols, (layer * 7 + projection.index()) as u64);
            let data = kind.dequantise(&matrix.bytes);
            *wide.weight_mut(projection) = Weight::Full(Matrix { rows, cols, data });
            *blocks.weight_mut(projection) = Weight::Quantised(matrix);
        }
    }
    [model, wide]
}

/// Gives every B values too, so that the adapter does something.
pub fn fill<F: Real>(adapter: &mut Adapter<F>, seed: u64) {
    let mut noise = noise(seed);
    for matrix in adapter.matrices_mut() {
        let size = 0.5 / (matrix.cols as f64).sqrt();
        matrix.data.iter_mut().for_each(|value| *value = F::from_f64(size * noise()));
    }
}

pub fn random_pairs(count: usize, vocab: usize, lengths: [usize; 3], seed: u64) -> Vec<TokenPair> {
    let mut noise = noise(seed);
    let mut tokens = |n| (0..n).map(|_| ((noise() + 1.0) * 0.499 * vocab as f64) as u32).collect::<Vec<u32>>();
    let [prompt, chosen, rejected] = lengths;
    let pair = |i| TokenPair {
        prompt: tokens(prompt + i),
        chosen: tokens(chosen),
        rejected: tokens(rejected + i),
        gap: (i + 1) as f32,
    };
    (0..count).map(pair).collect()
}

/// A tiny configuration, from the fields that matter.
pub fn tiny_config(fields: Value) -> Config {
    let mut base = serde_json::json!({
        "model_type": "llama", "vocab_size": 37, "hidden_size": 12, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 6, "intermediate_size": 20,
        "rms_norm_eps": 1e-5, "max_position_embeddings": 256,
    });
    let fields = fields.as_object().unwrap().clone();
    base.as_object_mut().unwrap().extend(fields);
    Config::from_json(&base).unwrap()
}

pub fn flat<F: Real>(matrix: &Matrix<F>) -> Vec<f64> {
    matrix.data.iter().map(|value| value.to_f64()).collect()
}

pub fn chosen_and_rejected(logps: &[ResponseLogps]) -> [Vec<f64>; 2] {
    [logps.iter().map(|l| l.chosen).collect(), logps.iter().map(|l| l.rejected).collect()]
}
