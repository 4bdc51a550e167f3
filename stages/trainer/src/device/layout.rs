//! How a frozen matrix, its inputs and an adapter's values lie in memory: what the device computes with, and what is planned
//! before anything is there.

use std::ops::Range;

use obvert_device::ops::lora::Wide;

use crate::config::Config;
use crate::projection::Projection;

/// Projections that share an input, one below the other.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) parts: Vec<Part>,
    /// Outputs of all.
    pub(super) out: usize,
    /// Inputs.
    pub(super) inner: usize,
    /// Columns of all adapters.
    pub(super) rank: usize,
    /// Whether a column is a bias.
    pub(super) biased: bool,
}

/// A projection's place in the matrix.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) projection: Projection,
    /// Its outputs.
    pub(super) rows: Range<usize>,
    /// Its adapter's columns; none without an adapter.
    pub(super) columns: Range<usize>,
    /// The values of its B, among those of the matrix's B's.
    pub(super) values: Range<usize>,
}

impl Layout {
    /// Projections, beside which an adapter of this rank for each of `targets` will lie.
    pub(super) fn new(config: &Config, projections: &[Projection], (rank, targets): (usize, &[Projection])) -> Self {
        let (mut parts, mut out, mut columns, mut values) = (Vec::new(), 0, 0, 0);
        for projection in projections {
            let rows = projection.shape(config).0;
            let width = if targets.contains(projection) { rank } else { 0 };
            let (taken, adapted) = (columns..columns + width, values..values + rows * width);
            (columns, values) = (taken.end, adapted.end);
            parts.push(Part { projection: *projection, rows: out..out + rows, columns: taken, values: adapted });
            out += rows;
        }
        let inner = projections[0].shape(config).1;
        let biased = config.qkv_bias && projections.contains(&Projection::Q);
        Self { parts, out, inner, rank: columns, biased }
    }

    /// Values of a row: a multiple of 8, for reads of 16 bytes.
    pub(super) fn stride(&self) -> usize {
        (self.inner + self.rank + usize::from(self.biased)).next_multiple_of(8)
    }

    /// A matrix of so many rows: inputs, or W.
    pub(super) fn wide(&self, rows: usize) -> Wide {
        Wide { rows, width: self.inner, rank: self.rank, stride: self.stride() }
    }

    /// The number of an adapter's values.
    pub(super) fn values(&self) -> usize {
        self.rank * self.inner + self.parts.last().map_or(0, |part| part.values.end)
    }

    /// The projections that have an adapter.
    pub(super) fn adapted(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| !part.columns.is_empty())
    }

    /// Values of the largest B.
    pub(super) fn largest_b(&self) -> usize {
        self.adapted().map(|part| part.rows.len() * part.columns.len()).max().unwrap_or_default()
    }
}
