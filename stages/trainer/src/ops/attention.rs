//! Causal attention with grouped queries over packed documents.
//!
//! For a query row i of one head: s = c·K qᵢ over the rows that i may see, p = softmax(s), oᵢ = Vᵀ p, with
//! c = 1/√d. Query head h reads key and value head h / group. With do the gradient of o and δᵢ = doᵢ · oᵢ:
//! dV = Pᵀ dO, dP = dO Vᵀ, dS = P ⊙ (dP − δ), dQ = c·dS K, dK = c·dSᵀ Q. P is not kept but computed again from
//! Q, K and the logarithm of the softmax's denominator (FlashAttention, arXiv 2205.14135).
//!
//! All tensors are in the layout of [`super::heads`]. A task is one key head of one document, with all the query
//! heads that read it: tasks write to disjoint slices, so the result does not depend on their order.

use rayon::prelude::*;

use super::heads::by_document;
use super::product::{Threads::One, View, ViewMut, Write, multiply};
use super::vector::{dot, exponentiate, maximum, multiply_by, vectorised};
use crate::buffers::{Buffer, Buffers};
use crate::pack::{Document, Pack};
use crate::real::Real;

/// Query rows that are multiplied at once: few enough that little above the diagonal is computed.
const BLOCK: usize = 64;

/// Sizes of an attention layer.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Size of a head.
    pub head_dim: usize,
}

/// Queries, keys and values by heads: q of `heads`, k and v of `kv_heads`.
#[derive(Debug)]
pub struct Qkv<F> {
    /// Queries, rotated.
    pub q: Buffer<F>,
    /// Keys, rotated.
    pub k: Buffer<F>,
    /// Values.
    pub v: Buffer<F>,
}

/// The heads' outputs, and what the backward needs to find P again.
#[derive(Debug)]
pub struct Attended<F> {
    /// o, by query heads.
    pub out: Buffer<F>,
    /// ln Σ exp(s) of every query head and row: `[document][head][row]`.
    pub log_sum: Buffer<F>,
}

/// Consecutive query rows of a document, and the key rows that they see.
#[derive(Clone, Copy, Debug)]
struct Block {
    /// First query row and number of query rows.
    start: usize,
    rows: usize,
    /// Rows of the prefix that every query of the block sees (none if the block lies in the prefix).
    prefix: usize,
    /// First key row of the block's own run; query `start + i` sees it up to row `start + i`.
    own: usize,
}

impl Block {
    /// Key rows of the own run that the block's last query sees.
    fn own_rows(&self) -> usize {
        self.start + self.rows - self.own
    }

    /// Key rows that the block's last query sees: the width of its scores.
    fn width(&self) -> usize {
        self.prefix + self.own_rows()
    }

    /// The key rows as runs: first row, number of rows, first column in the scores.
    fn runs(&self) -> [(usize, usize, usize); 2] {
        [(0, self.prefix, 0), (self.own, self.own_rows(), self.prefix)]
    }

    /// Key rows that query `start + i` sees.
    fn visible(&self, i: usize) -> usize {
        self.prefix + self.start + i + 1 - self.own
    }
}

/// The blocks of a document: those of its prefix, then those of each branch.
fn blocks(document: &Document) -> impl Iterator<Item = Block> + '_ {
    let prefix = std::iter::once((0, document.prefix, 0));
    let branches = document.branch_rows().map(|(start, rows)| (start, rows, document.prefix));
    prefix.chain(branches).flat_map(|(own, rows, prefix)| {
        (0..rows).step_by(BLOCK).map(move |at| Block { start: own + at, rows: BLOCK.min(rows - at), prefix, own })
    })
}

impl Attention {
    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    fn scale<F: Real>(&self) -> F {
        F::from_f64(1.0 / (self.head_dim as f64).sqrt())
    }

    /// o and the logarithms of the softmax's denominators.
    pub fn forward<F: Real>(&self, qkv: &Qkv<F>, pack: &Pack, buffers: &Buffers<F>) -> Attended<F> {
        let (rows, documents, scratch) = (pack.tokens.len(), &pack.documents, BLOCK * self.kv_heads);
        let mut out = buffers.zeros(rows, self.heads * self.head_dim);
        let mut log_sum = buffers.take(rows, self.heads);
        let mut scores = buffers.take(rows, scratch);
        let tasks: Vec<_> = self
            .tasks(&mut out, documents, self.heads * self.head_dim)
            .into_iter()
            .zip(self.tasks(&mut log_sum, documents, self.heads))
            .zip(self.tasks(&mut scores, documents, scratch))
            .zip(self.sources(qkv, documents))
            .collect();
        tasks.into_par_iter().for_each(|(((out, log_sum), scores), source)| {
            self.forward_task(&source, out, log_sum, scores);
        });
        Attended { out, log_sum }
    }

    /// `scores` is working memory, `[BLOCK, rows]`.
    fn forward_task<F: Real>(&self, source: &Source<'_, F>, out: &mut [F], log_sum: &mut [F], scores: &mut [F]) {
        let (d, rows) = (self.head_dim, source.document.rows());
        let heads = source.q.chunks_exact(rows * d).zip(out.chunks_exact_mut(rows * d));
        for ((q, out), log_sum) in heads.zip(log_sum.chunks_exact_mut(rows)) {
            for block in blocks(source.document) {
                let scores = &mut scores[..block.rows * block.width()];
                self.scores(source, q, &block, scores);
                softmax(scores, &block, &mut log_sum[block.start..][..block.rows]);
                let out = &mut out[block.start * d..][..block.rows * d];
                for (first, count, column) in block.runs() {
                    let p = View::strided(from(scores, column), block.rows, count, block.width());
                    let v = View::new(&source.v[first * d..], count, d);
                    multiply(ViewMut::new(out, block.rows, d), Write::Add, F::ONE, p, v, One);
                }
            }
        }
    }

    /// s for every query of a block, unmasked: `[rows, width]`.
    fn scores<F: Real>(&self, source: &Source<'_, F>, q: &[F], block: &Block, scores: &mut [F]) {
        let d = self.head_dim;
        let q = View::new(&q[block.start * d..], block.rows, d);
        for (first, count, column) in block.runs() {
            let k = View::new(&source.k[first * d..], count, d);
            let part = ViewMut::strided(from_mut(scores, column), block.rows, count, block.width());
            multiply(part, Write::Replace, self.scale(), q, k.t(), One);
        }
    }

    /// The gradients of q, k and v from that of o (by query heads).
    pub fn backward<F: Real>(
        &self,
        d_out: &[F],
        qkv: &Qkv<F>,
        attended: &Attended<F>,
        pack: &Pack,
        buffers: &Buffers<F>,
    ) -> Qkv<F> {
        let (rows, documents, scratch) = (pack.tokens.len(), &pack.documents, BLOCK * self.kv_heads);
        let (queries, keys) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let mut gradient =
            Qkv { q: buffers.zeros(rows, queries), k: buffers.zeros(rows, keys), v: buffers.zeros(rows, keys) };
        let [mut p, mut ds] = [buffers.take(rows, scratch), buffers.take(rows, scratch)];
        let written = self
            .tasks(&mut gradient.q, documents, queries)
            .into_iter()
            .zip(self.tasks(&mut gradient.k, documents, keys))
            .zip(self.tasks(&mut gradient.v, documents, keys))
            .zip(self.tasks(&mut p, documents, scratch).into_iter().zip(self.tasks(&mut ds, documents, scratch)));
        let read = self
            .slices(d_out, documents, queries)
            .zip(self.slices(&attended.out, documents, queries))
            .zip(self.slices(&attended.log_sum, documents, self.heads));
        let tasks: Vec<_> = written.zip(read).zip(self.sources(qkv, documents)).collect();
        tasks.into_par_iter().for_each(|(((((dq, dk), dv), scratch), ((d_out, out), log_sum)), source)| {
            self.backward_task(&source, Upstream { d_out, out, log_sum }, [dq, dk, dv], scratch);
        });
        gradient
    }

    /// `p` and `ds` are working memory, `[BLOCK, rows]` each.
    fn backward_task<F: Real>(
        &self,
        source: &Source<'_, F>,
        upstream: Upstream<'_, F>,
        [dq, dk, dv]: [&mut [F]; 3],
        (p, ds): (&mut [F], &mut [F]),
    ) {
        let (d, rows) = (self.head_dim, source.document.rows());
        for (head, (q, dq)) in source.q.chunks_exact(rows * d).zip(dq.chunks_exact_mut(rows * d)).enumerate() {
            for block in blocks(source.document) {
                let at = (head * rows + block.start) * d;
                let (d_out, out) = (&upstream.d_out[at..][..block.rows * d], &upstream.out[at..][..block.rows * d]);
                let log_sum = &upstream.log_sum[head * rows + block.start..][..block.rows];
                let size = block.rows * block.width();
                let (p, ds) = (&mut p[..size], &mut ds[..size]);
                self.scores(source, q, &block, p);
                for (first, count, column) in block.runs() {
                    let v = View::new(&source.v[first * d..], count, d);
                    let part = ViewMut::strided(from_mut(ds, column), block.rows, count, block.width());
                    multiply(part, Write::Replace, F::ONE, View::new(d_out, block.rows, d), v.t(), One);
                }
                softmax_backward(p, ds, &block, log_sum, d_out, out);
                let q = View::new(&q[block.start * d..], block.rows, d);
                for (first, count, column) in block.runs() {
                    let part = |values| View::strided(from(values, column), block.rows, count, block.width());
                    let (p, ds) = (part(p), part(ds));
                    let k = View::new(&source.k[first * d..], count, d);
                    let dq = ViewMut::new(&mut dq[block.start * d..], block.rows, d);
                    multiply(dq, Write::Add, self.scale(), ds, k, One);
                    let dk = ViewMut::new(&mut dk[first * d..], count, d);
                    multiply(dk, Write::Add, self.scale(), ds.t(), q, One);
                    let dv = ViewMut::new(&mut dv[first * d..], count, d);
                    multiply(dv, Write::Add, F::ONE, p.t(), View::new(d_out, block.rows, d), One);
                }
            }
        }
    }

    /// Cuts a buffer of `width` values a row into the slices of the tasks, in the order of [`Self::sources`].
    fn tasks<'a, F>(&self, values: &'a mut [F], documents: &[Document], width: usize) -> Vec<&'a mut [F]> {
        let each = width / self.kv_heads;
        let slices = by_document(values, documents, width).into_iter().zip(documents);
        slices.flat_map(|(slice, document)| slice.chunks_exact_mut(document.rows() * each)).collect()
    }

    fn slices<'a, F>(
        &self,
        values: &'a [F],
        documents: &'a [Document],
        width: usize,
    ) -> impl Iterator<Item = &'a [F]> + use<'a, F> {
        let each = width / self.kv_heads;
        documents.iter().flat_map(move |document| {
            values[document.start * width..][..document.rows() * width].chunks_exact(document.rows() * each)
        })
    }

    fn sources<'a, F>(&self, qkv: &'a Qkv<F>, documents: &'a [Document]) -> impl Iterator<Item = Source<'a, F>> {
        let keys = self.kv_heads * self.head_dim;
        let kv_heads = self.kv_heads;
        let owners = documents.iter().flat_map(move |document| std::iter::repeat_n(document, kv_heads));
        self.slices(&qkv.q, documents, keys * self.group())
            .zip(self.slices(&qkv.k, documents, keys))
            .zip(self.slices(&qkv.v, documents, keys))
            .zip(owners)
            .map(|(((q, k), v), document)| Source { q, k, v, document })
    }
}

/// What one task reads: the query heads of a group `[group, rows, d]`, and their key and value head `[rows, d]`.
struct Source<'a, F> {
    q: &'a [F],
    k: &'a [F],
    v: &'a [F],
    document: &'a Document,
}

/// What one backward task reads besides, for the query heads of its group.
struct Upstream<'a, F> {
    d_out: &'a [F],
    out: &'a [F],
    log_sum: &'a [F],
}

/// Turns the scores of a block into probabilities, row by row, zero where a query may not look.
fn softmax<F: Real>(scores: &mut [F], block: &Block, log_sum: &mut [F]) {
    vectorised(
        #[inline(always)]
        || {
            for (i, (row, log_sum)) in scores.chunks_exact_mut(block.width()).zip(log_sum).enumerate() {
                let (seen, hidden) = row.split_at_mut(block.visible(i));
                let greatest = maximum(seen);
                let sum = exponentiate(seen, greatest);
                let inverse = F::ONE / sum;
                multiply_by(seen, inverse);
                hidden.fill(F::ZERO);
                *log_sum = greatest + F::from_f64(sum.to_f64().ln());
            }
        },
    );
}

/// Turns scores into P, and dP into dS = P ⊙ (dP − δ).
fn softmax_backward<F: Real>(p: &mut [F], ds: &mut [F], block: &Block, log_sum: &[F], d_out: &[F], out: &[F]) {
    let d = d_out.len() / block.rows;
    vectorised(
        #[inline(always)]
        || {
            let rows = p.chunks_exact_mut(block.width()).zip(ds.chunks_exact_mut(block.width()));
            let outputs = d_out.chunks_exact(d).zip(out.chunks_exact(d));
            for (i, (((p, ds), log_sum), (d_out, out))) in rows.zip(log_sum).zip(outputs).enumerate() {
                let delta = dot(d_out, out);
                let (seen, hidden) = p.split_at_mut(block.visible(i));
                let (ds_seen, ds_hidden) = ds.split_at_mut(seen.len());
                for (p, ds) in seen.iter_mut().zip(ds_seen) {
                    *p = (*p - *log_sum).exp();
                    *ds = *p * (*ds - delta);
                }
                hidden.fill(F::ZERO);
                ds_hidden.fill(F::ZERO);
            }
        },
    );
}

/// The slice from a column on; empty where a run has no columns and begins past the end.
fn from<F>(values: &[F], column: usize) -> &[F] {
    values.get(column..).unwrap_or_default()
}

fn from_mut<F>(values: &mut [F], column: usize) -> &mut [F] {
    values.get_mut(column..).unwrap_or_default()
}
