//! Causal attention with grouped queries over packed documents: o = softmax(c q Kᵀ) V, c = 1/√d, head by head.
//!
//! q `[rows, heads · d]`, k and v `[rows, kv_heads · d]` lie side by side at the beginning of the rows of one matrix; so do
//! their gradients in another. The outputs `[rows, heads · d]` begin the rows of a matrix too. Rows may be longer.

use super::{WARP, check, check_len};
use crate::array::{Array, Device, Stored};
use crate::error::Error;
use crate::machine::Argument::{self, Int};

/// Rows of four warps: `GROUP` of the source.
const GROUP: usize = 64;
/// Threads and half warps of a block that computes delta.
const THREADS: usize = 256;
const HALVES: usize = THREADS / (WARP / 2);

/// An attention layer on the rows of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// Query heads: a multiple of `kv_heads`.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Size of a head: even, at most 256.
    pub head_dim: usize,
    /// Which rows see which.
    pub sight: &'a Sight,
}

/// Which rows of a batch see which, on a machine.
#[derive(Debug)]
pub struct Sight {
    /// Row i sees row j exactly if j <= i < `until[j]`.
    until: Array<i32>,
    /// The least and the greatest `until` of every [`GROUP`] rows.
    bounds: Array<i32>,
    /// The first row of each row's document.
    begin: Array<i32>,
}

/// A matrix: its values, and how many lie from row to row.
pub type Matrix<'a, F> = (&'a Array<F>, usize);
/// A matrix that is written.
pub type MatrixMut<'a, F> = (&'a mut Array<F>, usize);

/// What the backward reads.
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a, F> {
    /// q, k and v.
    pub qkv: Matrix<'a, F>,
    /// The outputs.
    pub out: Matrix<'a, F>,
    /// Their gradient.
    pub d_out: Matrix<'a, F>,
    /// ln Σ exp(s) `[heads, rows]`.
    pub lse: &'a Array<f32>,
}

impl Sight {
    /// Of documents in consecutive rows, each a prefix and the branches that continue it, in rows. A row of a prefix sees the
    /// prefix up to itself, a row of a branch the whole prefix and its own branch up to itself.
    ///
    /// # Errors
    /// What the machine says.
    pub fn new<'d, F: Stored>(
        device: &Device<F>,
        documents: impl IntoIterator<Item = (usize, &'d [usize])>,
    ) -> Result<Self, Error> {
        let (mut until, mut begin) = (Vec::new(), Vec::new());
        for (prefix, branches) in documents {
            let start = until.len();
            let end = start + prefix + branches.iter().sum::<usize>();
            until.resize(start + prefix, end as i32);
            for branch in branches {
                let end = until.len() + branch;
                until.resize(end, end as i32);
            }
            begin.resize(end, start as i32);
        }
        let bounds = until.chunks(GROUP).flat_map(|group| {
            let ends = group.iter().copied();
            [ends.clone().min().unwrap_or_default(), ends.max().unwrap_or_default()]
        });
        // A tile of two groups may begin with the last one.
        let bounds: Vec<i32> = bounds.chain([i32::MAX, 0]).collect();
        let bounds = device.copy("bounds", &bounds)?;
        Ok(Self { until: device.copy("until", &until)?, bounds, begin: device.copy("begin", &begin)? })
    }

    /// Rows of the batch.
    pub fn rows(&self) -> usize {
        self.until.len()
    }

    fn arguments(&self) -> [Argument; 3] {
        [&self.until, &self.bounds, &self.begin].map(Array::whole)
    }
}

/// The kernels for heads of up to so many columns, to which they are padded.
struct Width {
    columns: usize,
    forward: &'static str,
    dq: &'static str,
    dkdv: &'static str,
    /// Rows that a block owns: `QUERIES`, `SLOPES` and `OWNED` of the source. 16 of them are a warp's.
    owned: [usize; 3],
    /// Rows of a tile, forward and backward: `KEYS` and `TILE` of the source.
    tiles: [usize; 2],
    /// Blocks that share the columns of dk and dv.
    parts: usize,
}

macro_rules! width {
    ($columns:literal, $owned:expr, $tiles:expr, $parts:literal) => {
        Width {
            columns: $columns,
            forward: concat!("attention_forward_", $columns),
            dq: concat!("attention_dq_", $columns),
            dkdv: concat!("attention_dkdv_", $columns),
            owned: $owned,
            tiles: $tiles,
            parts: $parts,
        }
    };
}

const WIDTHS: [Width; 3] = [
    width!(64, [128, 192, 128], [128, 64], 1),
    width!(128, [128, 192, 128], [128, 64], 1),
    width!(256, [128, 64, 64], [32, 32], 2),
];

impl Width {
    /// Bytes of a block's own rows, of two pairs of tiles, of two floats for every row of a pair, and of what is left over
    /// before the first tile, which begins at a multiple of 1024.
    fn shared<F>(&self, owned: usize, tile: usize) -> usize {
        1024 + (owned + 4 * tile) * self.columns * size_of::<F>() + 4 * tile * size_of::<f32>()
    }
}

/// Threads of a block that owns rows.
fn threads(rows: usize) -> usize {
    rows / 16 * WARP
}

impl Attention<'_> {
    /// The outputs, and lse = ln Σ exp(s) `[heads, rows]`, from q, k and v.
    ///
    /// # Errors
    /// What the machine says.
    ///
    /// # Panics
    /// Sizes do not fit each other, or heads are odd or too large.
    pub fn forward<F: Stored>(
        &self,
        device: &Device<F>,
        out: MatrixMut<'_, F>,
        lse: &mut Array<f32>,
        qkv: Matrix<'_, F>,
    ) -> Result<(), Error> {
        let (width, rows) = (self.width(), self.sight.rows());
        self.check("out", (out.0, out.1), self.heads);
        self.check("q, k and v", qkv, self.heads + 2 * self.kv_heads);
        self.check_by_head("lse", lse);
        let mut arguments = vec![out.0.whole(), lse.whole()];
        arguments.extend(self.parts(qkv.0));
        arguments.extend(self.sight.arguments());
        arguments.extend(self.sizes([qkv.1, out.1]));
        let (queries, keys) = (width.owned[0], width.tiles[0]);
        let grid = [rows.div_ceil(queries), self.heads, 1];
        device.launch(width.forward, (grid, threads(queries), width.shared::<F>(queries, keys)), &arguments)
    }

    /// The gradients of q, k and v, from that of the outputs. `delta` `[heads, rows]` is working memory.
    ///
    /// # Errors
    /// What the machine says.
    ///
    /// # Panics
    /// As [`Self::forward`].
    pub fn backward<F: Stored>(
        &self,
        device: &Device<F>,
        d_qkv: MatrixMut<'_, F>,
        delta: &mut Array<f32>,
        saved: &Saved<'_, F>,
    ) -> Result<(), Error> {
        let columns = self.heads + 2 * self.kv_heads;
        for (what, matrix, heads) in [
            ("the gradients of q, k and v", (&*d_qkv.0, d_qkv.1), columns),
            ("q, k and v", saved.qkv, columns),
            ("out", saved.out, self.heads),
            ("the gradient of out", saved.d_out, self.heads),
        ] {
            self.check(what, matrix, heads);
        }
        self.check_by_head("lse", saved.lse);
        self.check_by_head("delta", delta);
        self.delta(device, delta, saved)?;
        self.d_queries(device, &d_qkv, delta, saved)?;
        self.d_keys(device, &d_qkv, delta, saved)
    }

    fn delta<F: Stored>(&self, device: &Device<F>, delta: &Array<f32>, saved: &Saved<'_, F>) -> Result<(), Error> {
        let (out, d_out, rows) = (saved.out, saved.d_out, self.sight.rows());
        let mut arguments = vec![delta.whole(), d_out.0.whole(), out.0.whole()];
        arguments.extend([rows, self.heads, self.head_dim, d_out.1, out.1].map(|size| Int(size as i32)));
        device.launch("attention_delta", ([(rows * self.heads).div_ceil(HALVES), 1, 1], THREADS, 0), &arguments)
    }

    fn d_queries<F: Stored>(
        &self,
        device: &Device<F>,
        d_qkv: &MatrixMut<'_, F>,
        delta: &Array<f32>,
        saved: &Saved<'_, F>,
    ) -> Result<(), Error> {
        let width = self.width();
        let [_, owned, _] = width.owned;
        let mut arguments = vec![d_qkv.0.whole()];
        arguments.extend(self.parts(saved.qkv.0));
        arguments.extend([saved.d_out.0.whole(), saved.lse.whole(), delta.whole()]);
        arguments.extend(self.sight.arguments());
        arguments.extend(self.sizes([d_qkv.1, saved.qkv.1, saved.d_out.1]));
        let grid = [self.sight.rows().div_ceil(owned), self.heads, 1];
        let shared = width.shared::<F>(2 * owned, width.tiles[1]);
        device.launch(width.dq, (grid, threads(owned), shared), &arguments)
    }

    fn d_keys<F: Stored>(
        &self,
        device: &Device<F>,
        d_qkv: &MatrixMut<'_, F>,
        delta: &Array<f32>,
        saved: &Saved<'_, F>,
    ) -> Result<(), Error> {
        let width = self.width();
        let [.., owned] = width.owned;
        let mut arguments = self.parts(d_qkv.0)[1..].to_vec();
        arguments.extend(self.parts(saved.qkv.0));
        arguments.extend([saved.d_out.0.whole(), saved.lse.whole(), delta.whole()]);
        arguments.extend(&self.sight.arguments()[..2]);
        arguments.extend(self.sizes([d_qkv.1, saved.qkv.1, saved.d_out.1]));
        let grid = [self.sight.rows().div_ceil(owned), self.kv_heads, width.parts];
        let shared = width.shared::<F>(2 * owned, width.tiles[1]);
        device.launch(width.dkdv, (grid, threads(owned), shared), &arguments)
    }

    fn width(&self) -> &'static Width {
        let (heads, kv_heads, d) = (self.heads, self.kv_heads, self.head_dim);
        assert!(kv_heads > 0 && heads.is_multiple_of(kv_heads), "{heads} query heads, {kv_heads} key heads");
        assert!(d > 0 && d % 2 == 0 && d <= 256, "heads of {d} values: an even number, at most 256");
        &WIDTHS[WIDTHS.partition_point(|width| width.columns < d)]
    }

    /// Where q, k and v begin in a matrix.
    fn parts<F: Stored>(&self, matrix: &Array<F>) -> [Argument; 3] {
        [0, self.heads, self.heads + self.kv_heads].map(|head| matrix.from(head * self.head_dim))
    }

    /// What every kernel of tiles takes in the end.
    fn sizes<const N: usize>(&self, strides: [usize; N]) -> impl Iterator<Item = Argument> + use<N> {
        let sizes = [self.sight.rows(), self.heads, self.kv_heads, self.head_dim];
        sizes.into_iter().chain(strides).map(|size| Int(size as i32))
    }

    /// Checks that rows of so many heads lie in a matrix.
    fn check<F: Stored>(&self, what: &str, (array, stride): Matrix<'_, F>, heads: usize) {
        check(what, array.len(), [self.sight.rows(), heads * self.head_dim], stride);
    }

    fn check_by_head(&self, what: &str, array: &Array<f32>) {
        check_len(what, array.len(), self.sight.rows() * self.heads);
    }
}
