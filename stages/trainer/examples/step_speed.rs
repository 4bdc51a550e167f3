//! Prints the speed of training steps on a model, or on a random Llama of 135 million parameters (SmolLM2's shape): 4
//! pairs, or as many as are wanted, of 128 prompt and 96 response tokens, adapters of rank 8 on all seven projections.
//!
//! `cargo run --release -p obvert-trainer --example step_speed -- [STEPS [PAIRS [MODEL]]]`

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use obvert_trainer::load::Checkpoint;
use obvert_trainer::{Config, Error, LoraSettings, Model, Storage, TokenPair, TrainSettings, Trainer};

fn config() -> Result<Config, Error> {
    Config::from_json(&serde_json::json!({
        "model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "num_hidden_layers": 30,
        "num_attention_heads": 9, "num_key_value_heads": 3, "intermediate_size": 1536,
        "rms_norm_eps": 1e-5, "rope_theta": 1e5, "tie_word_embeddings": true, "max_position_embeddings": 8192,
    }))
}

/// Uniform numbers in ±1 from a xorshift generator.
fn noise() -> impl FnMut() -> f32 {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

fn random_model(config: Config) -> Result<Model<f32>, Error> {
    let mut noise = noise();
    let (kv, h, f) = (config.kv_heads * config.head_dim, config.hidden, config.ffn);
    let vocab = config.vocab_size;
    Model::from_tensors(config, Storage::F32, |name: &str| {
        let shape = match name.rsplit('.').nth(1) {
            Some("embed_tokens") => vec![vocab, h],
            Some("q_proj" | "o_proj") => vec![h, h],
            Some("k_proj" | "v_proj") => vec![kv, h],
            Some("gate_proj" | "up_proj") => vec![f, h],
            Some("down_proj") => vec![h, f],
            _ => return Ok((vec![h], vec![1.0; h])),
        };
        let values = (0..shape.iter().product()).map(|_| 0.04 * noise()).collect();
        Ok((shape, values))
    })
}

fn main() -> Result<(), Error> {
    let number = |at: usize, default| std::env::args().nth(at).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (steps, count) = (number(1, 5), number(2, 4));
    let model = Arc::new(match std::env::args().nth(3) {
        Some(path) => Checkpoint::open(Path::new(&path))?.model()?,
        None => random_model(config()?)?,
    });
    let (mut noise, half) = (noise(), 0.49 * model.config.vocab_size as f32);
    let mut tokens = |count| (0..count).map(|_| ((noise() + 1.0) * half) as u32).collect::<Vec<u32>>();
    let mut pair = || TokenPair { prompt: tokens(128), chosen: tokens(96), rejected: tokens(96), gap: 2.0 };
    let pairs: Vec<_> = (0..count).map(|_| pair()).collect();
    let mut trainer = Trainer::new(model, TrainSettings::default(), &LoraSettings::default(), 1)?;
    let start = Instant::now();
    let reference = trainer.reference_logps(&pairs)?;
    println!("reference: {:.2} s", start.elapsed().as_secs_f64());
    for _ in 0..steps {
        let start = Instant::now();
        let metrics = trainer.step(&pairs, &reference)?;
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "step {}: loss {:.4}, {seconds:.2} s, {:.0} tokens/s",
            metrics.step,
            metrics.batch.loss,
            metrics.tokens as f64 / seconds
        );
    }
    Ok(())
}
