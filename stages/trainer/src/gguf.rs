//! An adapter as a GGUF file, as llama.cpp loads it with `--lora`:
//! <https://github.com/ggml-org/llama.cpp/blob/master/convert_lora_to_gguf.py> names keys and tensors,
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md> the format.

use std::path::Path;

use crate::config::{Config, Family};
use crate::error::Error;
use crate::load::{gguf_module, in_gguf_order};
use crate::lora::Adapter;
use crate::model::Matrix;
use crate::projection::Projection;
use crate::tensors::write_atomically;

const VERSION: u32 = 3;
/// Types of metadata values.
const F32_VALUE: u32 = 6;
const TEXT_VALUE: u32 = 8;
/// The type of a tensor of f32.
const F32_TENSOR: u32 = 0;
/// Tensors begin at multiples of so many bytes, as no key says otherwise.
const ALIGNMENT: usize = 32;

/// Writes an adapter for a base model that llama.cpp has converted. Weights are f32; llama.cpp's scale is alpha/r, as here.
///
/// # Errors
/// An adapter that does not fit the configuration; what the file system reports.
pub fn save(path: &Path, adapter: &Adapter, config: &Config) -> Result<(), Error> {
    adapter.check(config)?;
    let tensors = tensors(adapter, config);
    let mut bytes = Vec::from(*b"GGUF");
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((tensors.len() as u64).to_le_bytes());
    write_metadata(&mut bytes, adapter, config.family);
    write_infos(&mut bytes, &tensors);
    for (_, matrix) in &tensors {
        pad(&mut bytes);
        bytes.extend(matrix.data.iter().flat_map(|value| value.to_le_bytes()));
    }
    pad(&mut bytes);
    write_atomically(path, &bytes)
}

fn write_metadata(bytes: &mut Vec<u8>, adapter: &Adapter, family: Family) {
    let texts = [("general.architecture", family.name()), ("general.type", "adapter"), ("adapter.type", "lora")];
    bytes.extend((texts.len() as u64 + 1).to_le_bytes());
    for (key, value) in texts {
        write_text(bytes, key);
        bytes.extend(TEXT_VALUE.to_le_bytes());
        write_text(bytes, value);
    }
    write_text(bytes, "adapter.lora.alpha");
    bytes.extend(F32_VALUE.to_le_bytes());
    bytes.extend((adapter.alpha as f32).to_le_bytes());
}

/// Names, sizes and places. The innermost dimension stands first.
fn write_infos(bytes: &mut Vec<u8>, tensors: &[(String, Matrix<f32>)]) {
    let mut offset = 0;
    for (name, matrix) in tensors {
        write_text(bytes, name);
        bytes.extend(2_u32.to_le_bytes());
        [matrix.cols, matrix.rows].iter().for_each(|size| bytes.extend((*size as u64).to_le_bytes()));
        bytes.extend(F32_TENSOR.to_le_bytes());
        bytes.extend((offset as u64).to_le_bytes());
        offset = (offset + size_of_val(matrix.data.as_slice())).next_multiple_of(ALIGNMENT);
    }
}

fn write_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
}

/// A `[r, in]` and B `[out, r]` of every projection that has them.
fn tensors(adapter: &Adapter, config: &Config) -> Vec<(String, Matrix<f32>)> {
    let mut tensors = Vec::new();
    for (layer, block) in adapter.layers.iter().enumerate() {
        for (projection, low) in Projection::ALL.into_iter().zip(block) {
            let Some(low) = low else { continue };
            let name = format!("blk.{layer}.{}.weight", gguf_module(projection));
            tensors.push((format!("{name}.lora_a"), low.a.clone()));
            // As those of the weight: P(W + B A) = P W + (P B) A.
            tensors.push((format!("{name}.lora_b"), in_gguf_order(&low.b, projection, config)));
        }
    }
    tensors
}
