//! A GGUF file, version 2 or 3: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. Header and metadata are read
//! when it is opened, tensors one at a time afterwards.

use std::collections::HashMap;
use std::path::Path;

use super::quant::GgmlType;
use super::source::{Reader, Source};
use crate::Error;

/// More metadata entries or tensors than this are taken for a damaged file.
const MAX_ENTRIES: u64 = 1 << 20;
/// ggml's own limit on dimensions.
const MAX_DIMS: u32 = 4;
const DEFAULT_ALIGNMENT: u64 = 32;

/// A metadata value; numbers of all widths are widened.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Signed or unsigned, up to 64 bits.
    Integer(i128),
    Float(f64),
    Bool(bool),
    Text(String),
    Integers(Vec<i64>),
    Floats(Vec<f64>),
    Texts(Vec<String>),
}

/// Where a tensor lies and how it is stored.
struct Tensor {
    /// Outermost dimension first (the file has the innermost first).
    shape: Vec<usize>,
    kind: u32,
    /// Bytes from the start of the data section.
    offset: u64,
}

/// An open GGUF file.
pub(super) struct GgufFile {
    pub(super) source: Source,
    metadata: HashMap<String, Value>,
    tensors: HashMap<String, Tensor>,
    /// Start of the data section (bytes).
    data: u64,
}

impl GgufFile {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let source = Source::open(path)?;
        let mut reader = source.reader()?;
        let (tensor_count, entry_count) = preamble(&mut reader)?;
        let mut metadata = HashMap::new();
        for _ in 0..entry_count {
            let key = text(&mut reader)?;
            let kind = u32::from_le_bytes(reader.array()?);
            let value = value(&mut reader, kind).map_err(|e| at_key(&source, &key, e))?;
            metadata.insert(key, value);
        }
        let mut tensors = HashMap::new();
        for _ in 0..tensor_count {
            let name = text(&mut reader)?;
            let tensor = tensor(&mut reader, &name)?;
            if tensors.insert(name.clone(), tensor).is_some() {
                return Err(source.tensor_error(&name, "listed twice"));
            }
        }
        let end = reader.position;
        let data = data_start(&source, &metadata, end)?;
        Ok(Self { source, metadata, tensors, data })
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn integer(&self, key: &str) -> Option<i128> {
        match self.get(key)? {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// A token id.
    pub(super) fn token(&self, key: &str) -> Option<u32> {
        u32::try_from(self.integer(key)?).ok()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    pub(super) fn shape(&self, name: &str) -> Option<&[usize]> {
        Some(&self.tensors.get(name)?.shape)
    }

    /// The type of a tensor, where it is one that can be read.
    pub(super) fn kind(&self, name: &str) -> Option<GgmlType> {
        GgmlType::from_code(self.tensors.get(name)?.kind).ok()
    }

    /// Shape (outermost dimension first) and values of a tensor under its GGUF name.
    pub(super) fn take(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), Error> {
        let (kind, shape, bytes) = self.read(name)?;
        Ok((shape.to_vec(), kind.dequantise(&bytes)))
    }

    /// Type, shape (outermost dimension first) and bytes of a tensor under its GGUF name.
    pub(super) fn read(&self, name: &str) -> Result<(GgmlType, &[usize], Vec<u8>), Error> {
        let fail = |cause: String| self.source.tensor_error(name, cause);
        let tensor = self.tensors.get(name).ok_or_else(|| fail("not in the file".into()))?;
        let kind = GgmlType::from_code(tensor.kind).map_err(fail)?;
        let len = byte_len(&tensor.shape, kind).map_err(fail)?;
        let offset =
            self.data.checked_add(tensor.offset).ok_or_else(|| fail(format!("offset {} overflows", tensor.offset)))?;
        let bytes = self.source.read(offset, len).map_err(|e| match e {
            Error::Malformed { reason, .. } => fail(reason),
            other => other,
        })?;
        Ok((kind, &tensor.shape, bytes))
    }
}

/// Magic and version; the numbers of tensors and of metadata entries.
fn preamble(reader: &mut Reader<'_>) -> Result<(u64, u64), Error> {
    let magic: [u8; 4] = reader.array()?;
    if &magic != b"GGUF" {
        return Err(reader.source.error("not a GGUF file (its first four bytes are not \"GGUF\")"));
    }
    let version = u32::from_le_bytes(reader.array()?);
    if !(2..=3).contains(&version) {
        return Err(reader.source.error(format!("GGUF version {version} is not supported (2 and 3 are)")));
    }
    let tensors = u64::from_le_bytes(reader.array()?);
    let entries = u64::from_le_bytes(reader.array()?);
    if tensors.max(entries) > MAX_ENTRIES {
        return Err(reader
            .source
            .error(format!("{tensors} tensors and {entries} metadata entries: over {MAX_ENTRIES}")));
    }
    Ok((tensors, entries))
}

fn text(reader: &mut Reader<'_>) -> Result<String, Error> {
    let len = u64::from_le_bytes(reader.array()?);
    let bytes = reader.bytes(len)?;
    String::from_utf8(bytes)
        .map_err(|e| reader.source.error(format!("text before {} is not UTF-8: {e}", reader.position)))
}

fn value(reader: &mut Reader<'_>, kind: u32) -> Result<Value, Error> {
    Ok(match kind {
        6 | 12 => Value::Float(float(reader, kind)?),
        7 => Value::Bool(u8::from_le_bytes(reader.array()?) != 0),
        8 => Value::Text(text(reader)?),
        9 => array(reader)?,
        _ => Value::Integer(integer(reader, kind)?),
    })
}

fn integer(reader: &mut Reader<'_>, kind: u32) -> Result<i128, Error> {
    Ok(match kind {
        0 | 7 => u8::from_le_bytes(reader.array()?).into(),
        1 => i8::from_le_bytes(reader.array()?).into(),
        2 => u16::from_le_bytes(reader.array()?).into(),
        3 => i16::from_le_bytes(reader.array()?).into(),
        4 => u32::from_le_bytes(reader.array()?).into(),
        5 => i32::from_le_bytes(reader.array()?).into(),
        10 => u64::from_le_bytes(reader.array()?).into(),
        11 => i64::from_le_bytes(reader.array()?).into(),
        _ => return Err(reader.source.error(format!("value type {kind} is unknown"))),
    })
}

/// An f32 is widened through its shortest decimal form: 1e-5 means 1e-5, not the nearest f32.
fn float(reader: &mut Reader<'_>, kind: u32) -> Result<f64, Error> {
    if kind == 12 {
        return Ok(f64::from_le_bytes(reader.array()?));
    }
    let narrow = f32::from_le_bytes(reader.array()?);
    Ok(narrow.to_string().parse().unwrap_or(f64::from(narrow)))
}

/// The file's length bounds every array: an element takes at least a byte.
fn array(reader: &mut Reader<'_>) -> Result<Value, Error> {
    let kind = u32::from_le_bytes(reader.array()?);
    let count = u64::from_le_bytes(reader.array()?);
    let least = match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        8 | 10..=12 => 8,
        _ => return Err(reader.source.error(format!("arrays of type {kind} are not supported"))),
    };
    if count.checked_mul(least).is_none_or(|bytes| bytes > reader.left()) {
        return Err(reader
            .source
            .error(format!("an array of {count} elements does not fit in the {} bytes left", reader.left())));
    }
    Ok(match kind {
        6 | 12 => Value::Floats((0..count).map(|_| float(reader, kind)).collect::<Result<_, _>>()?),
        8 => Value::Texts((0..count).map(|_| text(reader)).collect::<Result<_, _>>()?),
        _ => Value::Integers((0..count).map(|_| small(reader, kind)).collect::<Result<_, _>>()?),
    })
}

fn small(reader: &mut Reader<'_>, kind: u32) -> Result<i64, Error> {
    let number = integer(reader, kind)?;
    i64::try_from(number).map_err(|e| reader.source.error(format!("array element {number}: {e}")))
}

fn tensor(reader: &mut Reader<'_>, name: &str) -> Result<Tensor, Error> {
    let count = u32::from_le_bytes(reader.array()?);
    if !(1..=MAX_DIMS).contains(&count) {
        return Err(reader.source.tensor_error(name, format!("{count} dimensions; 1 to {MAX_DIMS} are possible")));
    }
    let mut shape = Vec::new();
    for _ in 0..count {
        let dim = u64::from_le_bytes(reader.array()?);
        shape.push(usize::try_from(dim).map_err(|e| reader.source.tensor_error(name, e))?);
    }
    shape.reverse();
    let kind = u32::from_le_bytes(reader.array()?);
    let offset = u64::from_le_bytes(reader.array()?);
    Ok(Tensor { shape, kind, offset })
}

/// Bytes of a tensor; its innermost dimension must be whole blocks.
fn byte_len(shape: &[usize], kind: GgmlType) -> Result<u64, String> {
    let (weights, bytes) = kind.block();
    let row = shape.last().copied().unwrap_or_default();
    if !row.is_multiple_of(weights) {
        return Err(format!("rows of {row} are not whole blocks of {weights} ({kind:?})"));
    }
    let count = shape.iter().try_fold(1_usize, |product, dim| product.checked_mul(*dim));
    let len = count.and_then(|count| (count / weights).checked_mul(bytes));
    len.map(|len| len as u64).ok_or_else(|| format!("the size of shape {shape:?} overflows"))
}

/// The data section begins at the next multiple of the alignment after the header.
fn data_start(source: &Source, metadata: &HashMap<String, Value>, header_end: u64) -> Result<u64, Error> {
    let alignment = match metadata.get("general.alignment") {
        None => Some(DEFAULT_ALIGNMENT),
        Some(Value::Integer(number)) => u64::try_from(*number).ok().filter(|n| n.is_power_of_two()),
        Some(_) => None,
    };
    let start = alignment.and_then(|alignment| header_end.checked_next_multiple_of(alignment));
    start.ok_or_else(|| source.error("general.alignment is not a power of two of sensible size"))
}

fn at_key(source: &Source, key: &str, error: Error) -> Error {
    match error {
        Error::Malformed { reason, .. } => source.error(format!("metadata {key}: {reason}")),
        other => other,
    }
}
