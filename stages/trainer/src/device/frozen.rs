//! A frozen matrix on the device, `[out, in | rank | bias]`: its own columns, alpha/r · B of every projection in columns of its
//! own, and the bias. What is left over of a row, whose length is a multiple of 8, is zero.
//!
//! It lies there as the products read it, or as a file's quantised blocks, and is then widened in front of every product.

use obvert_device::ops::dequantise::{self, BlockType};
use obvert_device::ops::lora::{self, Wide};
use obvert_device::{Array, Device, Error, Stored};
use rayon::prelude::*;

use super::fused::Low;
use super::layout::{Layout, Part};
use crate::load::quant::GgmlType;
use crate::model::Layer;
use crate::weight::Weight;

/// A frozen matrix.
#[derive(Debug)]
pub(super) struct Frozen<F> {
    layout: Layout,
    matrix: Matrix<F>,
}

#[derive(Debug)]
enum Matrix<F> {
    Dense(Array<F>),
    Blocks {
        /// Of each projection.
        parts: Vec<Blocks>,
        /// alpha/r.
        scale: f32,
        /// `[out]`.
        bias: Option<Array<f32>>,
    },
}

/// A projection's blocks.
#[derive(Debug)]
struct Blocks {
    part: Part,
    kind: BlockType,
    bytes: Array<u8>,
    /// B, where one is in place.
    b: Option<Array<f32>>,
}

impl<F: Stored> Frozen<F> {
    /// The projections of a block.
    pub(super) fn new(device: &Device<F>, layer: &Layer<f32>, layout: &Layout) -> Result<Self, Error> {
        let blocks = layout.parts.iter().map(|part| blocks_of(layer.weight(part.projection)));
        let matrix = match blocks.collect::<Option<Vec<_>>>() {
            Some(blocks) => quantised(device, layer, layout, &blocks)?,
            None => Matrix::Dense(dense(device, layer, layout)?),
        };
        Ok(Self { layout: layout.clone(), matrix })
    }

    /// Writes alpha/r · B to where the products read it.
    pub(super) fn place(&mut self, device: &Device<F>, low: &Low, scale: f32) -> Result<(), Error> {
        let shape = self.layout.wide(self.layout.out);
        match &mut self.matrix {
            Matrix::Dense(values) => {
                for (part, b) in self.layout.adapted().zip(&low.b) {
                    let (row, columns) = (part.rows.start, part.columns.clone());
                    lora::place_b(device, values, &shape, (b, scale), row, columns)?;
                }
            }
            Matrix::Blocks { parts, scale: kept, .. } => {
                *kept = scale;
                let adapted = parts.iter_mut().filter(|blocks| !blocks.part.columns.is_empty());
                adapted.zip(&low.b).for_each(|(blocks, b)| blocks.b = Some(b.part(0..b.len())));
            }
        }
        Ok(())
    }

    /// Uses the matrix as the products read it.
    pub(super) fn with<T>(
        &self,
        device: &Device<F>,
        product: impl FnOnce(&Array<F>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        match &self.matrix {
            Matrix::Dense(values) => product(values),
            Matrix::Blocks { parts, scale, bias } => product(&self.widened(device, parts, *scale, bias.as_ref())?),
        }
    }

    fn widened(
        &self,
        device: &Device<F>,
        parts: &[Blocks],
        scale: f32,
        bias: Option<&Array<f32>>,
    ) -> Result<Array<F>, Error> {
        let shape = self.layout.wide(self.layout.out);
        let Wide { rows, width, rank, stride } = shape;
        let mut wide = device.room("a widened matrix", rows * stride)?;
        let beside = Wide { rank: stride - width, ..shape };
        if beside.rank > 0 {
            lora::clear(device, &mut wide, &beside)?;
        }
        for Blocks { part, kind, bytes, b } in parts {
            let to = (&mut wide, part.rows.start * stride, stride);
            dequantise::rows(device, to, (*kind, bytes, 0), [part.rows.len(), width])?;
            if let Some(b) = b {
                lora::place_b(device, &mut wide, &beside, (b, scale), part.rows.start, part.columns.clone())?;
            }
        }
        if let Some(bias) = bias {
            lora::place_b(device, &mut wide, &beside, (bias, 1.0), 0, rank..rank + 1)?;
        }
        Ok(wide)
    }
}

/// The blocks of a weight, where the device can widen them.
fn blocks_of(weight: &Weight<f32>) -> Option<(BlockType, &[u8])> {
    let Weight::Quantised(weight) = weight else { return None };
    Some((kept_as(weight.kind)?, &weight.bytes))
}

/// What the device keeps a type of blocks as; nothing for one that it makes dense.
pub(super) fn kept_as(kind: GgmlType) -> Option<BlockType> {
    match kind {
        GgmlType::Q8_0 => Some(BlockType::Q8_0),
        GgmlType::Q4_0 => Some(BlockType::Q4_0),
        GgmlType::Q4_1 => Some(BlockType::Q4_1),
        GgmlType::Q6K => Some(BlockType::Q6K),
        GgmlType::F32 | GgmlType::F16 | GgmlType::BF16 => None,
    }
}

fn quantised<F: Stored>(
    device: &Device<F>,
    layer: &Layer<f32>,
    layout: &Layout,
    blocks: &[(BlockType, &[u8])],
) -> Result<Matrix<F>, Error> {
    let copy = |(part, (kind, bytes)): (&Part, &(BlockType, &[u8]))| {
        let bytes = device.copy("a frozen matrix", bytes)?;
        Ok(Blocks { part: part.clone(), kind: *kind, bytes, b: None })
    };
    let mut bias = vec![0.0; layout.out];
    for part in &layout.parts {
        let Some(own) = layer.bias(part.projection) else { continue };
        bias[part.rows.clone()].copy_from_slice(own);
    }
    Ok(Matrix::Blocks {
        parts: layout.parts.iter().zip(blocks).map(copy).collect::<Result<_, Error>>()?,
        scale: 0.0,
        bias: layout.biased.then(|| device.copy("a bias", &bias)).transpose()?,
    })
}

/// The matrix as the products read it, without an adapter's values.
fn dense<F: Stored>(device: &Device<F>, layer: &Layer<f32>, layout: &Layout) -> Result<Array<F>, Error> {
    let Wide { rows, width, rank, stride } = layout.wide(layout.out);
    let mut values = vec![F::narrow(0.0); rows * stride];
    for part in &layout.parts {
        let (weight, bias) = (layer.weight(part.projection), layer.bias(part.projection));
        let own = &mut values[part.rows.start * stride..part.rows.end * stride];
        own.par_chunks_exact_mut(stride).enumerate().for_each_init(
            || vec![0.0; width],
            |wide, (at, row)| {
                weight.read(at, wide);
                row.iter_mut().zip(wide).for_each(|(to, value)| *to = F::narrow(*value));
                if let Some(bias) = bias {
                    row[width + rank] = F::narrow(bias[at]);
                }
            },
        );
    }
    device.copy("a frozen matrix", &values)
}
