//! One safetensors file: <https://huggingface.co/docs/safetensors>. The header's own consistency (no holes, sizes that
//! match shapes, checked arithmetic) is the `safetensors` crate's work; here it is held against the file's length.

use std::path::Path;

use half::slice::HalfFloatSliceExt;
use safetensors::Dtype;
use safetensors::tensor::Metadata;

use super::source::Source;
use crate::{Error, Matrix, Weight};

/// The format's own limit on the header (bytes).
const MAX_HEADER: u64 = 100_000_000;
/// Bytes before the header: its length.
const PREFIX: u64 = 8;

/// An open safetensors file.
pub(super) struct SafetensorsFile {
    pub(super) source: Source,
    header: Metadata,
    /// Where the data begins (bytes).
    data: u64,
}

impl SafetensorsFile {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let source = Source::open(path)?;
        let mut reader = source.reader()?;
        let len = u64::from_le_bytes(reader.array()?);
        if len > MAX_HEADER {
            return Err(source.error(format!("a header of {len} bytes is over the limit of {MAX_HEADER}")));
        }
        let bytes = reader.bytes(len)?;
        let header: Metadata =
            serde_json::from_slice(&bytes).map_err(|e| source.error(format!("safetensors header: {e}")))?;
        let data = PREFIX + len;
        let end = data.checked_add(header.data_len() as u64);
        if end != Some(source.len) {
            let cause = format!(
                "the header describes {} bytes of data, the file holds {}",
                header.data_len(),
                source.len - data
            );
            return Err(source.error(cause));
        }
        Ok(Self { source, header, data })
    }

    /// Names of the tensors in the file, in the order of their data.
    pub(super) fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    /// Shape and values of a tensor, widened to f32.
    pub(super) fn take(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), Error> {
        let (dtype, shape, bytes) = self.read(name)?;
        let reason = format!("type {dtype:?} is not supported (F32, F16, BF16 are)");
        let values = widen(dtype, &bytes).ok_or_else(|| self.source.tensor_error(name, reason))?;
        Ok((shape.to_vec(), values))
    }

    /// A matrix that is stored in bfloat16.
    pub(super) fn stored(&self, name: &str) -> Result<Option<Weight<f32>>, Error> {
        let is_half = self.header.info(name).is_some_and(|info| info.dtype == Dtype::BF16 && info.shape.len() == 2);
        if !is_half {
            return Ok(None);
        }
        let (_, shape, bytes) = self.read(name)?;
        Ok(Some(half(shape[0], shape[1], &bytes)))
    }

    fn read(&self, name: &str) -> Result<(Dtype, &[usize], Vec<u8>), Error> {
        let info = self.header.info(name).ok_or_else(|| self.source.tensor_error(name, "not in the file"))?;
        let (start, end) = info.data_offsets;
        let bytes = self.source.read(self.data + start as u64, (end - start) as u64)?;
        Ok((info.dtype, &info.shape, bytes))
    }
}

fn widen(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    match dtype {
        Dtype::F32 => Some(f32s(bytes)),
        Dtype::F16 => Some(f16s(bytes)),
        Dtype::BF16 => Some(bf16s(bytes)),
        _ => None,
    }
}

/// Little-endian f32 values.
pub(super) fn f32s(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// Little-endian IEEE half-precision values, widened.
pub(super) fn f16s(bytes: &[u8]) -> Vec<f32> {
    let halves: Vec<half::f16> = bytes.as_chunks::<2>().0.iter().map(|b| half::f16::from_le_bytes(*b)).collect();
    halves.to_f32_vec()
}

/// Little-endian bfloat16 values, widened.
pub(super) fn bf16s(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<2>().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect()
}

/// A matrix of little-endian bfloat16 values.
pub(super) fn half(rows: usize, cols: usize, bytes: &[u8]) -> Weight<f32> {
    let data = bytes.as_chunks().0.iter().map(|bytes| half::bf16::from_le_bytes(*bytes)).collect();
    Weight::Half(Matrix { rows, cols, data })
}
