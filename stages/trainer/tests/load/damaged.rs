//! Truncated and altered files give errors: no panic, no allocation beyond the file's own size.

use std::fs;
use std::path::Path;

use obvert_trainer::Error;
use obvert_trainer::load::{Checkpoint, Dialect};
use safetensors::tensor::{Dtype, TensorView};

use crate::common::{noise, tiny_config};
use crate::gguf::{CHATML, Gguf, Meta, add_tokenizer};

/// A model of one block, small enough to cut everywhere.
const SIZES: [(&str, &str, &[usize]); 12] = [
    ("model.embed_tokens.weight", "token_embd.weight", &[8, 4]),
    ("model.norm.weight", "output_norm.weight", &[4]),
    ("lm_head.weight", "output.weight", &[8, 4]),
    ("model.layers.0.input_layernorm.weight", "blk.0.attn_norm.weight", &[4]),
    ("model.layers.0.post_attention_layernorm.weight", "blk.0.ffn_norm.weight", &[4]),
    ("model.layers.0.self_attn.q_proj.weight", "blk.0.attn_q.weight", &[4, 4]),
    ("model.layers.0.self_attn.k_proj.weight", "blk.0.attn_k.weight", &[2, 4]),
    ("model.layers.0.self_attn.v_proj.weight", "blk.0.attn_v.weight", &[2, 4]),
    ("model.layers.0.self_attn.o_proj.weight", "blk.0.attn_output.weight", &[4, 4]),
    ("model.layers.0.mlp.gate_proj.weight", "blk.0.ffn_gate.weight", &[6, 4]),
    ("model.layers.0.mlp.up_proj.weight", "blk.0.ffn_up.weight", &[6, 4]),
    ("model.layers.0.mlp.down_proj.weight", "blk.0.ffn_down.weight", &[4, 6]),
];

fn gguf() -> (Vec<u8>, usize) {
    let mut gguf = Gguf::default();
    gguf.set("general.architecture", Meta::Text("llama".into()));
    let sizes = [("block_count", 1), ("context_length", 64), ("embedding_length", 4), ("feed_forward_length", 6)];
    for (key, value) in sizes.into_iter().chain([("attention.head_count", 2), ("attention.head_count_kv", 1)]) {
        gguf.set(&format!("llama.{key}"), Meta::Int(value));
    }
    gguf.set("llama.attention.layer_norm_rms_epsilon", Meta::Float(1e-5));
    add_tokenizer(&mut gguf, "smollm", &[("t", "h"), ("th", "e")]);
    gguf.set("tokenizer.chat_template", Meta::Text(CHATML.into()));
    for (_, name, shape) in SIZES {
        gguf.f32(name, shape, &vec![0.5; shape.iter().product()]);
    }
    gguf.bytes()
}

/// File and the length of its header.
fn safetensors() -> (Vec<u8>, usize) {
    let data: Vec<Vec<u8>> =
        SIZES.iter().map(|(_, _, shape)| 0.5_f32.to_le_bytes().repeat(shape.iter().product())).collect();
    let views = SIZES
        .iter()
        .zip(&data)
        .map(|((name, _, shape), data)| (*name, TensorView::new(Dtype::F32, shape.to_vec(), data).unwrap()));
    let bytes = safetensors::serialize(views, None).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    (bytes, header)
}

fn config() -> String {
    let config = serde_json::json!({
        "model_type": "llama", "vocab_size": 8, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1, "intermediate_size": 6, "rms_norm_eps": 1e-5, "max_position_embeddings": 64,
    });
    tiny_config(config.clone());
    config.to_string()
}

/// Opens everything that can be opened.
fn use_all(path: &Path) -> Result<(), Error> {
    Checkpoint::open(path)?.model()?;
    if path.is_file() {
        Dialect::open(path)?.tokenizer.encode("the <|im_end|> 1")?;
    }
    Ok(())
}

/// Cuts at every point of the header and at some of the data, then flips bits of the header.
fn damage(open: &Path, file: &Path, bytes: &[u8], header: usize) {
    fs::write(file, bytes).unwrap();
    use_all(open).unwrap();
    for cut in (0..header).step_by(7).chain((header..bytes.len() - 32).step_by(61)) {
        fs::write(file, &bytes[..cut]).unwrap();
        let message = use_all(open).unwrap_err().to_string();
        assert!(message.contains(file.file_name().unwrap().to_str().unwrap()), "cut at {cut}: {message}");
    }
    let mut noise = noise(3);
    let mut below = |limit: usize| ((noise() + 1.0) / 2.0 * limit as f64) as usize;
    let mut refused = 0;
    for _ in 0..1_500 {
        let mut damaged = bytes.to_vec();
        for _ in 0..=below(3) {
            damaged[below(header)] ^= 1 << below(8);
        }
        fs::write(file, damaged).unwrap();
        refused += usize::from(use_all(open).is_err());
    }
    assert!(refused > 300, "{refused} of 1500 refused");
}

#[test]
fn damaged_gguf_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tiny.gguf");
    let (bytes, header) = gguf();
    damage(&file, &file, &bytes, header);
}

#[test]
fn damaged_safetensors_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), config()).unwrap();
    let (bytes, header) = safetensors();
    damage(folder.path(), &folder.path().join("model.safetensors"), &bytes, header);
}

#[test]
fn absurd_sizes_are_refused_without_allocating() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tiny.gguf");
    let (good, header) = gguf();
    let at = |needle: &[u8]| good.windows(needle.len()).position(|window| window == needle).unwrap() + needle.len();
    let cases: [(usize, u64, &str); 5] = [
        (8, u64::MAX, "tensors and"),
        (16, u64::MAX, "tensors and"),
        (24, 1 << 60, "bytes expected"),
        (at(b"tokenizer.ggml.tokens") + 8, 1 << 60, "metadata tokenizer.ggml.tokens: an array of"),
        (at(b"blk.0.ffn_up.weight") + 4, 1 << 61, "tensor blk.0.ffn_up.weight"),
    ];
    for (place, value, expected) in cases {
        assert!(place < header);
        let mut bytes = good.clone();
        bytes[place..place + 8].copy_from_slice(&value.to_le_bytes());
        fs::write(&file, bytes).unwrap();
        let message = use_all(&file).unwrap_err().to_string();
        assert!(message.contains(expected) && message.contains("tiny.gguf"), "{message}");
    }
}
