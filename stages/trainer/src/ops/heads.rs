//! The layout attention works on: head by head within each document.
//!
//! A projection gives `[rows, heads·d]`. Attention wants the rows of one head of one document together:
//! `[document][head][row of the document][d]`, so that its products read contiguous memory and its parallel
//! tasks own disjoint slices. Queries and keys are turned by their rotary angle on the way.

use rayon::prelude::*;

use super::rope::{RotaryTable, Turn};
use super::vector::vectorised;
use crate::buffers::{Buffer, Buffers};
use crate::pack::{Document, Pack};
use crate::real::Real;

/// From `[rows, heads·d]` to the layout by heads, turned forward where a table is given.
pub fn split<F: Real>(
    x: &[F],
    pack: &Pack,
    d: usize,
    rotary: Option<&RotaryTable<F>>,
    buffers: &Buffers<F>,
) -> Buffer<F> {
    let width = x.len() / pack.tokens.len();
    let mut y = buffers.take(pack.tokens.len(), width);
    by_document(&mut y, &pack.documents, width).into_par_iter().zip(&pack.documents).for_each(|(y, document)| {
        let rows = document.rows();
        y.par_chunks_mut(rows * d).enumerate().for_each(|(head, y)| {
            vectorised(
                #[inline(always)]
                || {
                    for (row, y) in y.chunks_exact_mut(d).enumerate() {
                        let row = document.start + row;
                        y.copy_from_slice(&x[row * width + head * d..][..d]);
                        if let Some(table) = rotary {
                            table.rotate(y, pack.positions[row], Turn::Forward);
                        }
                    }
                },
            );
        });
    });
    y
}

/// From the layout by heads back to `[rows, heads·d]`, turned backward where a table is given.
pub fn merge<F: Real>(
    y: &[F],
    pack: &Pack,
    d: usize,
    rotary: Option<&RotaryTable<F>>,
    buffers: &Buffers<F>,
) -> Buffer<F> {
    let width = y.len() / pack.tokens.len();
    let mut x = buffers.take(pack.tokens.len(), width);
    by_document(&mut x, &pack.documents, width).into_par_iter().zip(&pack.documents).for_each(|(x, document)| {
        let rows = document.rows();
        let y = &y[document.start * width..][..rows * width];
        x.par_chunks_mut(width).enumerate().for_each(|(row, x)| {
            vectorised(
                #[inline(always)]
                || {
                    for (head, x) in x.chunks_exact_mut(d).enumerate() {
                        x.copy_from_slice(&y[(head * rows + row) * d..][..d]);
                        if let Some(table) = rotary {
                            table.rotate(x, pack.positions[document.start + row], Turn::Backward);
                        }
                    }
                },
            );
        });
    });
    x
}

/// Cuts a buffer of `width` values a row into the slices of the documents.
pub(crate) fn by_document<'a, F>(mut values: &'a mut [F], documents: &[Document], width: usize) -> Vec<&'a mut [F]> {
    let mut slices = Vec::with_capacity(documents.len());
    for document in documents {
        let (slice, rest) = values.split_at_mut(document.rows() * width);
        slices.push(slice);
        values = rest;
    }
    slices
}
