//! ggml's block types, widened to f32 with the same operations in the same order as ggml's `dequantize_row_*`
//! (ggml/src/ggml-quants.c), so that the values are the same bit for bit.

use half::f16;

use super::safetensors::{bf16s, f16s, f32s};

/// A tensor type of GGUF that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GgmlType {
    /// 32-bit floats.
    F32,
    /// 16-bit IEEE floats.
    F16,
    /// bfloat16.
    BF16,
    /// 32 weights: a scale, 4-bit values less 8.
    Q4_0,
    /// 32 weights: a scale, a minimum, 4-bit values.
    Q4_1,
    /// 32 weights: a scale, signed bytes.
    Q8_0,
    /// 256 weights: a scale, 16 signed sub-scales, 6-bit values less 32.
    Q6K,
}

/// Names of ggml's type numbers, to say which type is refused. The empty ones were withdrawn.
const NAMES: [&str; 40] = [
    "F32", "F16", "Q4_0", "Q4_1", "", "", "Q5_0", "Q5_1", "Q8_0", "Q8_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
    "Q8_K", "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS", "I8", "I16", "I32", "I64",
    "F64", "IQ1_M", "BF16", "", "", "", "TQ1_0", "TQ2_0", "", "", "", "MXFP4",
];

impl GgmlType {
    /// The type with ggml's number `code`; otherwise the name, or number, of what is not supported.
    pub fn from_code(code: u32) -> Result<Self, String> {
        Ok(match code {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            8 => Self::Q8_0,
            14 => Self::Q6K,
            30 => Self::BF16,
            _ => return Err(refusal(code)),
        })
    }

    /// (weights, bytes) of one block.
    pub fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::BF16 => (1, 2),
            Self::Q4_0 => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q8_0 => (32, 34),
            Self::Q6K => (256, 210),
        }
    }

    /// The weights of whole blocks; bytes after the last whole block are left out.
    pub fn dequantise(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F32 => f32s(bytes),
            Self::F16 => f16s(bytes),
            Self::BF16 => bf16s(bytes),
            Self::Q4_0 => blocks(bytes, q4_0),
            Self::Q4_1 => blocks(bytes, q4_1),
            Self::Q8_0 => blocks(bytes, q8_0),
            Self::Q6K => blocks(bytes, q6_k),
        }
    }
}

fn refusal(code: u32) -> String {
    let name = NAMES.get(code as usize).copied().unwrap_or_default();
    let name = if name.is_empty() { format!("number {code}") } else { name.to_owned() };
    format!("type {name} is not supported (F32, F16, BF16, Q4_0, Q4_1, Q8_0, Q6_K are)")
}

fn blocks<const BYTES: usize, const WEIGHTS: usize>(
    bytes: &[u8],
    block: fn(&[u8; BYTES]) -> [f32; WEIGHTS],
) -> Vec<f32> {
    bytes.as_chunks::<BYTES>().0.iter().flat_map(block).collect()
}

fn scale(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// The low halves of 16 bytes are weights 0..16, the high halves weights 16..32.
fn nibbles(bytes: &[u8], weight: impl Fn(u8) -> f32) -> [f32; 32] {
    std::array::from_fn(|i| weight(if i < 16 { bytes[i] & 15 } else { bytes[i - 16] >> 4 }))
}

fn q4_0(block: &[u8; 18]) -> [f32; 32] {
    let d = scale(block, 0);
    nibbles(&block[2..], |q| f32::from(i16::from(q) - 8) * d)
}

fn q4_1(block: &[u8; 20]) -> [f32; 32] {
    let (d, minimum) = (scale(block, 0), scale(block, 2));
    nibbles(&block[4..], |q| f32::from(q) * d + minimum)
}

fn q8_0(block: &[u8; 34]) -> [f32; 32] {
    let d = scale(block, 0);
    std::array::from_fn(|i| f32::from(block[2 + i].cast_signed()) * d)
}

/// Layout: 128 bytes of low nibbles, 64 of high bit pairs, 16 sub-scales, the scale. Each half of 128 weights is four
/// runs of 32: run r takes nibble r / 2 of low byte (r % 2) * 32 + l and bit pair r of high byte l.
fn q6_k(block: &[u8; 210]) -> [f32; 256] {
    let d = scale(block, 208);
    std::array::from_fn(|i| {
        let (part, run, l) = (i / 128, i / 32 % 4, i % 32);
        let low = block[part * 64 + run % 2 * 32 + l] >> (run / 2 * 4) & 15;
        let high = block[128 + part * 32 + l] >> (run * 2) & 3;
        let sub = block[192 + part * 8 + run * 2 + l / 16].cast_signed();
        d * f32::from(sub) * f32::from(i16::from(low | high << 4) - 32)
    })
}
