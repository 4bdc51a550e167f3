//! A GGUF file seen as a Hugging Face checkpoint: its configuration, its names, its layouts.

use serde_json::{Value as Json, json};

use super::gguf::{GgufFile, Value};
use super::quant::GgmlType;
use super::safetensors::half;
use crate::{Config, Error, Family, Matrix, Projection, Quantised, Weight};

/// The rotary factors of Llama 3.1 and 3.2 were made with these (`_generate_rope_factors` in llama.cpp's converter
/// writes the factors only).
const LOW_FREQ_FACTOR: f64 = 1.0;
const HIGH_FREQ_FACTOR: f64 = 4.0;
/// The factors are stored as f32.
const FACTOR_TOLERANCE: f64 = 1e-4;

const MODULES: [(&str, &str); 9] = [
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// What GGUF calls a projection: `attn_q`.
pub(crate) fn gguf_module(projection: Projection) -> &'static str {
    MODULES.iter().find(|(long, _)| *long == projection.module()).map_or("", |(_, short)| short)
}

/// The heads of a projection whose rows the converter reorders.
fn reordered_heads(config: &Config, projection: Projection) -> Option<usize> {
    match (config.family, projection) {
        (Family::Llama, Projection::Q) => Some(config.heads),
        (Family::Llama, Projection::K) => Some(config.kv_heads),
        _ => None,
    }
}

/// The configuration that the metadata describes.
pub(super) fn config(file: &GgufFile) -> Result<Config, Error> {
    let json = config_json(file)?;
    let mut config = Config::from_json(&json).map_err(|e| file.source.error(e))?;
    refuse_partial_rotation(file, &config)?;
    if let Some(factors) = rope_factors(file)? {
        config.rope_scaling = Some(scaling(&factors, &config).ok_or_else(|| {
            file.source.tensor_error("rope_freqs.weight", "the factors are not those of Llama 3.1's scaling")
        })?);
        config.check().map_err(|e| file.source.error(e))?;
    }
    Ok(config)
}

/// Shape and values of a tensor under its Hugging Face name, in Hugging Face's layout.
pub(super) fn take(file: &GgufFile, config: &Config, name: &str) -> Result<(Vec<usize>, Vec<f32>), Error> {
    let gguf = found_name(file, name)?;
    let (shape, values) = file.take(&gguf)?;
    let values = reordered(file, config, (name, &gguf), &shape, values)?;
    Ok((shape, values))
}

/// A matrix as it is stored, in Hugging Face's layout: nothing for one of `f32`.
pub(super) fn stored(file: &GgufFile, config: &Config, name: &str) -> Result<Option<Weight<f32>>, Error> {
    let gguf = found_name(file, name)?;
    let (kind, shape, bytes) = file.read(&gguf)?;
    let &[rows, cols] = shape else { return Ok(None) };
    if kind == GgmlType::F32 {
        return Ok(None);
    }
    let bytes = reordered(file, config, (name, &gguf), shape, bytes)?;
    Ok(Some(match kind {
        GgmlType::BF16 => half(rows, cols, &bytes),
        kind => Weight::Quantised(Quantised { kind, rows, cols, bytes }),
    }))
}

/// The type of a tensor under its Hugging Face name.
pub(super) fn kind(file: &GgufFile, name: &str) -> Option<GgmlType> {
    file.kind(&gguf_name(file, name)?)
}

fn found_name(file: &GgufFile, name: &str) -> Result<String, Error> {
    gguf_name(file, name).ok_or_else(|| file.source.tensor_error(name, "has no counterpart in GGUF"))
}

/// A tensor's values, or bytes, with the rows of q and k in Hugging Face's order.
fn reordered<T: Copy>(
    file: &GgufFile,
    config: &Config,
    (name, gguf): (&str, &str),
    shape: &[usize],
    values: Vec<T>,
) -> Result<Vec<T>, Error> {
    let reordered = [Projection::Q, Projection::K].into_iter().find(|p| name.contains(&format!(".{}.", p.name())));
    let Some(heads) = reordered.and_then(|projection| reordered_heads(config, projection)) else { return Ok(values) };
    unpermute(shape, &values, heads)
        .ok_or_else(|| file.source.tensor_error(gguf, format!("shape {shape:?} does not split into {heads} heads")))
}

fn gguf_name(file: &GgufFile, name: &str) -> Option<String> {
    Some(match name {
        "model.embed_tokens.weight" => "token_embd.weight".into(),
        "model.norm.weight" => "output_norm.weight".into(),
        "lm_head.weight" if file.shape("output.weight").is_none() => "token_embd.weight".into(),
        "lm_head.weight" => "output.weight".into(),
        _ => {
            let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
            let (module, kind) = rest.rsplit_once('.')?;
            let (_, short) = MODULES.iter().find(|(long, _)| *long == module)?;
            format!("blk.{layer}.{short}.{kind}")
        }
    })
}

/// llama.cpp rotates neighbouring rows (2i, 2i + 1), Hugging Face rows (i, i + d/2) of a head; the converter reordered
/// the rows of q and k, which is undone here.
fn unpermute<T: Copy>(shape: &[usize], values: &[T], heads: usize) -> Option<Vec<T>> {
    let rows = *shape.first()?;
    let (d, cols) = (rows / heads, values.len() / rows.max(1));
    if rows == 0 || rows % (2 * heads) != 0 {
        return None;
    }
    let mut out = Vec::with_capacity(values.len());
    for row in 0..rows {
        let (head, half, i) = (row / d, row % d / (d / 2), row % (d / 2));
        let from = (head * d + 2 * i + half) * cols;
        out.extend_from_slice(values.get(from..from + cols)?);
    }
    Some(out)
}

/// A matrix with a row for each of a projection's outputs, in the converter's order: what [`unpermute`] undoes.
pub(crate) fn in_gguf_order(matrix: &Matrix<f32>, projection: Projection, config: &Config) -> Matrix<f32> {
    let Some(heads) = reordered_heads(config, projection) else { return matrix.clone() };
    let (rows, cols) = (matrix.rows, matrix.cols);
    let half = rows / heads / 2;
    let from = |row: usize| row / (2 * half) * 2 * half + row % 2 * half + row % (2 * half) / 2;
    let data = (0..rows).flat_map(|row| matrix.data[from(row) * cols..][..cols].iter().copied()).collect();
    Matrix { data, ..*matrix }
}

fn config_json(file: &GgufFile) -> Result<Json, Error> {
    let missing = |key: &str| file.source.error(format!("metadata {key}: missing or not a number"));
    let arch =
        file.text("general.architecture").ok_or_else(|| file.source.error("metadata general.architecture: missing"))?;
    let number = |key: &str| file.get(&format!("{arch}.{key}")).and_then(scalar);
    let needed = |key: &str| number(key).ok_or_else(|| missing(&format!("{arch}.{key}")));
    refuse_scaling(file, arch)?;
    let embedding = file
        .shape("token_embd.weight")
        .ok_or_else(|| file.source.tensor_error("token_embd.weight", "not in the file"))?;
    let mut json = json!({
        "model_type": arch,
        "vocab_size": embedding.first(),
        "hidden_size": needed("embedding_length")?,
        "num_hidden_layers": needed("block_count")?,
        "num_attention_heads": needed("attention.head_count")?,
        "intermediate_size": needed("feed_forward_length")?,
        "rms_norm_eps": needed("attention.layer_norm_rms_epsilon")?,
        "max_position_embeddings": needed("context_length")?,
        "rope_theta": number("rope.freq_base").unwrap_or_else(|| json!(10_000.0)),
        "tie_word_embeddings": file.shape("output.weight").is_none(),
        "attention_bias": arch == "llama" && file.names().any(|name| name.ends_with("attn_q.bias")),
        "eos_token_id": eos(file),
    });
    let optional = [
        ("num_key_value_heads", number("attention.head_count_kv")),
        ("head_dim", number("attention.key_length")),
        ("bos_token_id", file.token("tokenizer.ggml.bos_token_id").map(Json::from)),
    ];
    for (field, value) in optional {
        if let Some(value) = value {
            json[field] = value;
        }
    }
    Ok(json)
}

/// The tokens that end a text or a turn.
pub(super) fn eos(file: &GgufFile) -> Vec<u32> {
    let keys = ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"];
    let mut ids: Vec<u32> = keys.iter().filter_map(|key| file.token(key)).collect();
    ids.dedup();
    ids
}

fn scalar(value: &Value) -> Option<Json> {
    match value {
        Value::Integer(number) => u64::try_from(*number).ok().map(Json::from),
        Value::Float(number) => serde_json::Number::from_f64(*number).map(Json::Number),
        _ => None,
    }
}

/// Linear and YaRN scaling are stated in the metadata; neither is implemented.
fn refuse_scaling(file: &GgufFile, arch: &str) -> Result<(), Error> {
    let key = format!("{arch}.rope.scaling.type");
    match file.text(&key) {
        None | Some("none") => Ok(()),
        Some(other) => {
            Err(file.source.error(Error::unsupported(&key, other, "only Llama 3.1's (rope_freqs.weight) is")))
        }
    }
}

/// Some models turn only the front of each head.
fn refuse_partial_rotation(file: &GgufFile, config: &Config) -> Result<(), Error> {
    let key = format!("{}.rope.dimension_count", file.text("general.architecture").unwrap_or_default());
    match file.integer(&key) {
        Some(turned) if turned != config.head_dim as i128 => {
            let reason = format!("only {}, the size of a head, is", config.head_dim);
            Err(file.source.error(Error::unsupported(&key, turned, &reason)))
        }
        _ => Ok(()),
    }
}

fn rope_factors(file: &GgufFile) -> Result<Option<Vec<f32>>, Error> {
    match file.shape("rope_freqs.weight") {
        None => Ok(None),
        Some(_) => file.take("rope_freqs.weight").map(|(_, values)| Some(values)),
    }
}

/// Finds the factor and the original context that give these divisors of the rotary frequencies: a frequency between
/// the two limits tells the context, by solving `smooth = (context / wavelength − low) / (high − low)`.
fn scaling(divisors: &[f32], config: &Config) -> Option<crate::Llama3Scaling> {
    let wavelength = |i: usize| std::f64::consts::TAU * config.rope_theta.powf(2.0 * i as f64 / config.head_dim as f64);
    let factor = divisors.iter().copied().fold(1.0, f32::max);
    let between = divisors.iter().position(|&divisor| divisor > 1.0 && divisor < factor)?;
    let factor = f64::from(factor);
    let smooth = (f64::from(*divisors.get(between)?).recip() - factor.recip()) / (1.0 - factor.recip());
    let context = wavelength(between) * (smooth * (HIGH_FREQ_FACTOR - LOW_FREQ_FACTOR) + LOW_FREQ_FACTOR);
    let scaling = crate::Llama3Scaling {
        factor,
        low_freq_factor: LOW_FREQ_FACTOR,
        high_freq_factor: HIGH_FREQ_FACTOR,
        original_max_positions: context.round() as usize,
    };
    let fits = |(i, divisor): (usize, &f32)| {
        (f64::from(*divisor) / divisor_of(&scaling, wavelength(i)) - 1.0).abs() < FACTOR_TOLERANCE
    };
    (divisors.len() * 2 == config.head_dim && divisors.iter().enumerate().all(fits)).then_some(scaling)
}

/// What Llama 3.1's scaling divides the frequency of a wavelength (positions) by.
fn divisor_of(scaling: &crate::Llama3Scaling, wavelength: f64) -> f64 {
    let turns = scaling.original_max_positions as f64 / wavelength;
    let smooth = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
    let smooth = smooth.clamp(0.0, 1.0);
    ((1.0 - smooth) / scaling.factor + smooth).recip()
}
