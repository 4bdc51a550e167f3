//! A safetensors file written one tensor at a time, so that no more than one is in memory.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::str::FromStr;

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use crate::error::Error;

/// How weights are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightType {
    /// Single precision: what the trainer computes in.
    #[default]
    F32,
    /// Half precision, IEEE.
    F16,
    /// Half precision with the range of f32.
    Bf16,
}

impl WeightType {
    /// As a config.json calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }

    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::BF16,
        }
    }

    fn size(self) -> usize {
        self.dtype().bitsize() / 8
    }

    /// Little-endian bytes of the nearest values; the first value that is out of range.
    fn encode(self, values: &[f32]) -> Result<Vec<u8>, f32> {
        match self {
            Self::F32 => Ok(values.iter().flat_map(|value| value.to_le_bytes()).collect()),
            Self::Bf16 => {
                halves(values, |value| (bf16::from_f32(value).is_finite(), bf16::from_f32(value).to_le_bytes()))
            }
            Self::F16 => halves(values, |value| (f16::from_f32(value).is_finite(), f16::from_f32(value).to_le_bytes())),
        }
    }
}

impl FromStr for WeightType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            "bf16" => Ok(Self::Bf16),
            other => Err(Error::unsupported("dtype", other, "f32, f16 and bf16 are")),
        }
    }
}

fn halves(values: &[f32], half: impl Fn(f32) -> (bool, [u8; 2])) -> Result<Vec<u8>, f32> {
    let mut bytes = Vec::with_capacity(2 * values.len());
    for value in values {
        let (finite, half) = half(*value);
        if value.is_finite() && !finite {
            return Err(*value);
        }
        bytes.extend_from_slice(&half);
    }
    Ok(bytes)
}

/// Writes tensors of these names and shapes; `take` gives the values of one.
pub(crate) fn write(
    path: &Path,
    tensors: &[(String, Vec<usize>)],
    kind: WeightType,
    mut take: impl FnMut(usize) -> Result<Vec<f32>, Error>,
) -> Result<(), Error> {
    let io = |source| Error::io(path, source);
    let header = header(tensors, kind).map_err(|error| Error::malformed(path, error))?;
    let mut file = BufWriter::new(File::create(path).map_err(io)?);
    file.write_all(&(header.len() as u64).to_le_bytes()).and_then(|()| file.write_all(&header)).map_err(io)?;
    for (index, (name, _)) in tensors.iter().enumerate() {
        let outside = |value| Error::field(&format!("tensor {name}"), format!("{value} does not fit {}", kind.name()));
        file.write_all(&kind.encode(&take(index)?).map_err(outside)?).map_err(io)?;
    }
    file.into_inner().map_err(|error| io(error.into_error()))?.sync_all().map_err(io)
}

/// The header, filled up with spaces so that the data begins at a multiple of eight bytes.
fn header(tensors: &[(String, Vec<usize>)], kind: WeightType) -> Result<Vec<u8>, String> {
    let mut end = 0;
    let info = |(name, shape): &(String, Vec<usize>)| {
        let start = end;
        end += shape.iter().product::<usize>() * kind.size();
        (name.clone(), TensorInfo { dtype: kind.dtype(), shape: shape.clone(), data_offsets: (start, end) })
    };
    // transformers refuses a file that does not say which framework's layout it has.
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let metadata = Metadata::new(Some(format), tensors.iter().map(info).collect()).map_err(|e| e.to_string())?;
    let mut header = serde_json::to_vec(&metadata).map_err(|e| e.to_string())?;
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}
