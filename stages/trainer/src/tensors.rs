//! Matrices of an adapter as named tensors in safetensors, and files that are replaced in one move.

use std::io::Write;
use std::path::Path;

use safetensors::{Dtype, SafeTensors, View, tensor::TensorView};

use crate::error::Error;
use crate::model::Matrix;
use crate::real::Real;

/// A matrix to be written: `[rows, cols]`, little-endian.
#[derive(Debug)]
pub(crate) struct Encoded {
    dtype: Dtype,
    shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

impl Encoded {
    pub(crate) fn new<F: Real>(matrix: &Matrix<F>) -> Self {
        let mut bytes = Vec::with_capacity(size_of_val(matrix.data.as_slice()));
        matrix.data.iter().for_each(|value| value.write_le(&mut bytes));
        Self { dtype: F::DTYPE, shape: vec![matrix.rows, matrix.cols], bytes }
    }
}

impl View for &Encoded {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        (&self.bytes).into()
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Reads a matrix of any of the floating-point types that adapters are saved in.
pub(crate) fn decode<F: Real>(tensor: &TensorView<'_>) -> Result<Matrix<F>, String> {
    let &[rows, cols] = tensor.shape() else {
        return Err(format!("has shape {:?}, not two sizes", tensor.shape()));
    };
    let (bytes, dtype) = (tensor.data(), tensor.dtype());
    let data = match dtype {
        _ if dtype == F::DTYPE => bytes.chunks_exact(size_of::<F>()).filter_map(F::from_le).collect(),
        Dtype::F32 => widen(bytes, |bytes: [u8; 4]| f32::from_le_bytes(bytes).into()),
        Dtype::F64 => widen(bytes, f64::from_le_bytes),
        Dtype::BF16 => widen(bytes, |bytes: [u8; 2]| half::bf16::from_le_bytes(bytes).into()),
        Dtype::F16 => widen(bytes, |bytes: [u8; 2]| half::f16::from_le_bytes(bytes).into()),
        other => {
            return Err(format!("is of type {other:?}; F32, F64, F16 and BF16 are read"));
        }
    };
    Ok(Matrix { rows, cols, data })
}

fn widen<F: Real, const N: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> f64) -> Vec<F> {
    let (values, _) = bytes.as_chunks::<N>();
    values.iter().map(|value| F::from_f64(convert(*value))).collect()
}

/// Opens the bytes of a safetensors file.
pub(crate) fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<SafeTensors<'a>, Error> {
    SafeTensors::deserialize(bytes)
        .map_err(|error| Error::malformed(path, format!("not a whole safetensors file: {error}")))
}

/// Writes a file so that at any moment there is either the old one or the new one, whole: a temporary file beside
/// it, synced, then renamed, then the folder synced.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let attempt = || {
        let mut file = temporary(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        sync_folder(folder)
    };
    attempt().map_err(|source| Error::io(path, source))
}

/// A temporary file with the permissions of an ordinary one (temporary files are private by default).
#[cfg(unix)]
fn temporary(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};
    tempfile::Builder::new().prefix(".partial-").permissions(Permissions::from_mode(0o666)).tempfile_in(folder)
}

#[cfg(not(unix))]
fn temporary(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new().prefix(".partial-").tempfile_in(folder)
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> std::io::Result<()> {
    Ok(())
}
