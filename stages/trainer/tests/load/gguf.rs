//! Writes GGUF files for the tests: any metadata, and fixture models the way llama.cpp's converter writes them.

use std::fs;
use std::path::Path;

use obvert_trainer::load::Checkpoint;
use obvert_trainer::{Config, Family, Projection};

/// A metadata value.
pub enum Meta {
    Int(u32),
    Float(f32),
    Text(String),
    Texts(Vec<String>),
    Ints(Vec<i32>),
}

#[derive(Default)]
pub struct Gguf {
    pub meta: Vec<(String, Meta)>,
    /// Name, shape (outermost first), ggml type, bytes.
    pub tensors: Vec<(String, Vec<usize>, u32, Vec<u8>)>,
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn meta(out: &mut Vec<u8>, value: &Meta) {
    let mut array = |kind: u32, len: usize| {
        out.extend(9_u32.to_le_bytes());
        out.extend(kind.to_le_bytes());
        out.extend((len as u64).to_le_bytes());
    };
    match value {
        Meta::Int(v) => {
            out.extend(4_u32.to_le_bytes());
            out.extend(v.to_le_bytes());
        }
        Meta::Float(v) => {
            out.extend(6_u32.to_le_bytes());
            out.extend(v.to_le_bytes());
        }
        Meta::Text(v) => {
            out.extend(8_u32.to_le_bytes());
            text(out, v);
        }
        Meta::Texts(list) => {
            array(8, list.len());
            list.iter().for_each(|v| text(out, v));
        }
        Meta::Ints(list) => {
            array(5, list.len());
            list.iter().for_each(|v| out.extend(v.to_le_bytes()));
        }
    }
}

impl Gguf {
    pub fn set(&mut self, key: &str, value: Meta) {
        self.meta.retain(|(old, _)| old != key);
        self.meta.push((key.to_owned(), value));
    }

    pub fn f32(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensors.push((name.to_owned(), shape.to_vec(), 0, bytes));
    }

    /// The file, and where its data begin.
    pub fn bytes(&self) -> (Vec<u8>, usize) {
        let mut out = b"GGUF".to_vec();
        out.extend(3_u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.meta.len() as u64).to_le_bytes());
        for (key, value) in &self.meta {
            text(&mut out, key);
            meta(&mut out, value);
        }
        let mut offset = 0_u64;
        for (name, shape, kind, bytes) in &self.tensors {
            text(&mut out, name);
            out.extend((shape.len() as u32).to_le_bytes());
            shape.iter().rev().for_each(|dim| out.extend((*dim as u64).to_le_bytes()));
            out.extend(kind.to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset = (offset + bytes.len() as u64).next_multiple_of(32);
        }
        out.resize(out.len().next_multiple_of(32), 0);
        let data = out.len();
        for (_, _, _, bytes) in &self.tensors {
            out.extend(bytes);
            out.resize(out.len().next_multiple_of(32), 0);
        }
        (out, data)
    }
}

/// Writes a model's folder as a file.
pub fn convert(folder: &Path, file: &Path) {
    fs::write(file, from_checkpoint(&Checkpoint::open(folder).unwrap()).bytes().0).unwrap();
}

/// A whole checkpoint, in 32-bit floats.
pub fn from_checkpoint(checkpoint: &Checkpoint) -> Gguf {
    let config = &checkpoint.config;
    let mut gguf = Gguf::default();
    describe(&mut gguf, config);
    copy(&mut gguf, checkpoint, "model.embed_tokens.weight", "token_embd.weight");
    copy(&mut gguf, checkpoint, "model.norm.weight", "output_norm.weight");
    if !config.tied {
        copy(&mut gguf, checkpoint, "lm_head.weight", "output.weight");
    }
    for layer in 0..config.layers {
        for (projection, short) in Projection::ALL.into_iter().zip([
            "attn_q",
            "attn_k",
            "attn_v",
            "attn_output",
            "ffn_gate",
            "ffn_up",
            "ffn_down",
        ]) {
            let heads = match (config.family, projection) {
                (Family::Llama, Projection::Q) => Some(config.heads),
                (Family::Llama, Projection::K) => Some(config.kv_heads),
                _ => None,
            };
            let from = format!("model.layers.{layer}.{}.weight", projection.module());
            let (shape, mut values) = checkpoint.take(&from).unwrap();
            if let Some(heads) = heads {
                values = permute(&values, heads, shape[0] / heads, shape[1]);
            }
            gguf.f32(&format!("blk.{layer}.{short}.weight"), &shape, &values);
            if config.qkv_bias && matches!(projection, Projection::Q | Projection::K | Projection::V) {
                copy(&mut gguf, checkpoint, &from.replace("weight", "bias"), &format!("blk.{layer}.{short}.bias"));
            }
        }
        for (long, short) in [("input_layernorm", "attn_norm"), ("post_attention_layernorm", "ffn_norm")] {
            copy(
                &mut gguf,
                checkpoint,
                &format!("model.layers.{layer}.{long}.weight"),
                &format!("blk.{layer}.{short}.weight"),
            );
        }
    }
    gguf
}

fn copy(gguf: &mut Gguf, checkpoint: &Checkpoint, from: &str, to: &str) {
    let (shape, values) = checkpoint.take(from).unwrap();
    gguf.f32(to, &shape, &values);
}

/// llama.cpp's converter: `reshape(heads, 2, d / 2, cols).swapaxes(1, 2)`.
fn permute(values: &[f32], heads: usize, d: usize, cols: usize) -> Vec<f32> {
    let mut out = Vec::new();
    for head in 0..heads {
        for i in 0..d / 2 {
            for half in 0..2 {
                let row = head * d + half * (d / 2) + i;
                out.extend(&values[row * cols..][..cols]);
            }
        }
    }
    out
}

fn describe(gguf: &mut Gguf, config: &Config) {
    let arch = if config.family == Family::Llama { "llama" } else { "qwen2" };
    gguf.set("general.architecture", Meta::Text(arch.into()));
    let sizes = [
        ("block_count", config.layers),
        ("context_length", config.max_positions),
        ("embedding_length", config.hidden),
        ("feed_forward_length", config.ffn),
        ("attention.head_count", config.heads),
        ("attention.head_count_kv", config.kv_heads),
        ("attention.key_length", config.head_dim),
    ];
    for (key, value) in sizes {
        gguf.set(&format!("{arch}.{key}"), Meta::Int(value as u32));
    }
    gguf.set(&format!("{arch}.rope.freq_base"), Meta::Float(config.rope_theta as f32));
    gguf.set(&format!("{arch}.attention.layer_norm_rms_epsilon"), Meta::Float(config.norm_eps as f32));
    gguf.set("tokenizer.ggml.bos_token_id", Meta::Int(config.bos.unwrap()));
    gguf.set("tokenizer.ggml.eos_token_id", Meta::Int(config.eos[0]));
    if let Some(scaling) = config.rope_scaling {
        let divisor = |i: usize| {
            let wavelength = std::f64::consts::TAU * config.rope_theta.powf(2.0 * i as f64 / config.head_dim as f64);
            let context = scaling.original_max_positions as f64;
            if wavelength < context / scaling.high_freq_factor {
                1.0
            } else if wavelength > context / scaling.low_freq_factor {
                scaling.factor
            } else {
                let smooth = (context / wavelength - scaling.low_freq_factor)
                    / (scaling.high_freq_factor - scaling.low_freq_factor);
                1.0 / ((1.0 - smooth) / scaling.factor + smooth)
            }
        };
        let divisors: Vec<f32> = (0..config.head_dim / 2).map(|i| divisor(i) as f32).collect();
        gguf.f32("rope_freqs.weight", &[divisors.len()], &divisors);
    }
}

/// GPT-2's letter for a byte: a printable one stands for itself, the others for letters from U+0100 on.
fn letter(byte: u8) -> char {
    let printable = |b: u8| matches!(b, 33..=126 | 161..=172 | 174..=255);
    match printable(byte) {
        true => char::from(byte),
        false => char::from_u32(256 + (0..byte).filter(|b| !printable(*b)).count() as u32).unwrap(),
    }
}

fn letters(text: &str) -> String {
    text.bytes().map(letter).collect()
}

/// A vocabulary of the 256 bytes, then `merged`, then the marks `<|im_start|>` and `<|im_end|>`.
pub fn add_tokenizer(gguf: &mut Gguf, pre: &str, merged: &[(&str, &str)]) {
    let mut tokens: Vec<String> = (0..=255).map(|byte| letter(byte).to_string()).collect();
    tokens.extend(merged.iter().map(|(a, b)| letters(a) + &letters(b)));
    let plain = tokens.len();
    tokens.extend(["<|im_start|>".to_owned(), "<|im_end|>".to_owned()]);
    let types = (0..tokens.len()).map(|id| if id < plain { 1 } else { 3 }).collect();
    gguf.set("tokenizer.ggml.model", Meta::Text("gpt2".into()));
    gguf.set("tokenizer.ggml.pre", Meta::Text(pre.into()));
    gguf.set("tokenizer.ggml.eos_token_id", Meta::Int(plain as u32 + 1));
    gguf.set("tokenizer.ggml.tokens", Meta::Texts(tokens));
    gguf.set("tokenizer.ggml.token_type", Meta::Ints(types));
    let merges = merged.iter().map(|(a, b)| format!("{} {}", letters(a), letters(b))).collect();
    gguf.set("tokenizer.ggml.merges", Meta::Texts(merges));
}

pub const CHATML: &str = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
