//! What a device's memory will hold while an adapter is trained: known from the configuration, before anything is loaded.
//!
//! It is what is allocated at the worst moment, part by part, not a rule of thumb: a test compares it with what is.

use std::fmt::{self, Display};

use obvert_device::Stored;
use obvert_device::ops::adamw::{MOST_VALUES, PARTIALS};
use obvert_device::ops::logprob::CHUNK;

use super::block::layouts;
use super::frozen::kept_as;
use super::layout::Layout;
use crate::config::Config;
use crate::error::Error;
use crate::load::Checkpoint;
use crate::load::quant::GgmlType;
use crate::model::Model;
use crate::projection::Projection;
use crate::settings::Activations;
use crate::weight::Weight;

/// Bytes that the library for products works in.
const PRODUCTS: usize = 32 << 20;

/// Bytes of a device's memory, by what they are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// The base model.
    pub weights: usize,
    /// The adapter, its gradient, and the optimizer's moments.
    pub adapter: usize,
    /// What is kept from forward to backward.
    pub activations: usize,
    /// What comes and goes within a pass.
    pub workspace: usize,
    /// An adapter's.
    values: usize,
    recomputed: bool,
}

/// What a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct Planned<'a> {
    /// The model's shape.
    pub config: &'a Config,
    /// The adapter's rank and projections.
    pub adapter: (usize, &'a [Projection]),
    /// Packed tokens of a pass, or of the longest pair where that has more.
    pub micro_tokens: usize,
    /// What becomes of activations.
    pub activations: Activations,
}

impl MemoryPlan {
    /// The memory of a device that stores `F`; `blocks` says how a matrix of a block is quantised, where it is.
    pub fn new<F: Stored>(planned: Planned<'_>, blocks: impl Fn(usize, Projection) -> Option<GgmlType>) -> Self {
        let Planned { config, adapter, micro_tokens: rows, activations } = planned;
        let (layouts, size) = (layouts(config, adapter), size_of::<F>());
        let base = Base::new(config, &layouts, size, blocks);
        let values: usize = layouts.iter().map(Layout::values).sum::<usize>() * config.layers;
        let stacks: usize = layouts.iter().map(|layout| layout.rank * layout.inner).sum::<usize>() * config.layers;
        let row = Row::new(config, &layouts, size);
        let (kept, within) = match activations {
            Activations::Keep => (row.kept, 0),
            Activations::Recompute => (row.input, row.kept - row.input),
        };
        let forward = row.forward * rows + base.widened.into_iter().max().unwrap_or_default();
        // A product is done before that of its adapter's gradient begins.
        let backward = layouts.iter().zip(row.backward).zip(base.widened);
        let backward =
            backward.map(|((layout, row), widened)| row * rows + widened.max(layout.largest_b() * size_of::<f32>()));
        let block = rows * within + backward.fold(forward, usize::max);
        Self {
            weights: base.bytes,
            adapter: stacks * size + (4 * values + PARTIALS + 2) * size_of::<f32>(),
            activations: config.layers * rows * kept,
            workspace: block.max(rows * row.head) + rows * row.packed + PRODUCTS,
            values,
            recomputed: activations == Activations::Recompute,
        }
    }

    /// The memory that a model in this machine's memory takes.
    pub fn of_model<F: Stored>(model: &Model<f32>, planned: Planned<'_>) -> Self {
        Self::new::<F>(planned, |layer, projection| match model.layers[layer].weight(projection) {
            Weight::Quantised(weight) => Some(weight.kind),
            Weight::Full(_) | Weight::Half(_) => None,
        })
    }

    /// The memory that a model takes which is not loaded yet.
    pub fn of_checkpoint<F: Stored>(checkpoint: &Checkpoint, planned: Planned<'_>) -> Self {
        Self::new::<F>(planned, |layer, projection| checkpoint.blocks(layer, projection))
    }

    /// All of it.
    pub fn total(&self) -> usize {
        self.weights + self.adapter + self.activations + self.workspace
    }

    /// Checks that it fits.
    ///
    /// # Errors
    /// It does not, with what makes it smaller; an adapter of more values than the kernels count.
    pub fn check(&self, free: usize) -> Result<(), Error> {
        if self.values > MOST_VALUES {
            let reason = format!("the adapter has {} values, a device takes {MOST_VALUES} at most", self.values);
            return Err(Error::field("rank", reason));
        }
        if self.total() <= free {
            return Ok(());
        }
        let advice = match (self.weights > free, self.recomputed) {
            (true, _) => "the weights alone do not fit: a quantised model with `storage = \"file\"` takes a quarter",
            (false, true) => "fewer `micro_tokens` or a lower rank take less",
            (false, false) => "fewer `micro_tokens`, `activations = \"recompute\"` or a lower rank take less",
        };
        let reason =
            format!("training takes more than the {} of memory that are free; {advice}\n{self}", written(free));
        Err(Error::field("device", reason))
    }
}

impl Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("weights", self.weights),
            ("adapter and optimizer", self.adapter),
            ("activations", self.activations),
            ("workspace", self.workspace),
            ("in all", self.total()),
        ];
        for (at, (name, bytes)) in parts.into_iter().enumerate() {
            write!(f, "{}{name:<22}{:>12}", if at > 0 { "\n" } else { "" }, written(bytes))?;
        }
        Ok(())
    }
}

/// In units of 10⁹ or 10⁶ bytes.
fn written(bytes: usize) -> String {
    let bytes = bytes as f64;
    if bytes < 1e9 { format!("{:.1} MB", bytes / 1e6) } else { format!("{:.1} GB", bytes / 1e9) }
}

/// Bytes of the base model.
struct Base {
    bytes: usize,
    /// Of each matrix of a block, where it is widened for its products.
    widened: [usize; 4],
}

impl Base {
    fn new(
        config: &Config,
        layouts: &[Layout; 4],
        size: usize,
        blocks: impl Fn(usize, Projection) -> Option<GgmlType>,
    ) -> Self {
        let tables = if config.tied { 1 } else { 2 };
        let dense = config.hidden * (tables * config.vocab_size + 2 * config.layers + 1) * size;
        let mut all = Self { bytes: dense, widened: [0; 4] };
        for (layer, at) in (0..config.layers).flat_map(|layer| (0..4).map(move |at| (layer, at))) {
            let layout = &layouts[at];
            let dense = layout.out * layout.stride() * size;
            match quantised(layout, |projection| blocks(layer, projection)) {
                None => all.bytes += dense,
                Some(bytes) => {
                    all.bytes += bytes + usize::from(layout.biased) * layout.out * size_of::<f32>();
                    all.widened[at] = dense;
                }
            }
        }
        all
    }
}

/// Bytes of a matrix in blocks, where the device keeps it so.
fn quantised(layout: &Layout, blocks: impl Fn(Projection) -> Option<GgmlType>) -> Option<usize> {
    let bytes = layout.parts.iter().map(|part| {
        let (weights, bytes) = kept_as(blocks(part.projection)?)?.block();
        Some(part.rows.len() * layout.inner / weights * bytes)
    });
    bytes.sum()
}

/// Bytes of a packed token at the worst moments of a pass, as `block.rs` and `head.rs` allocate them.
struct Row {
    /// Of a block: its input; all that its backward reads.
    input: usize,
    kept: usize,
    /// Within a block, beside what is kept: in the forward, and at each matrix in the backward.
    forward: usize,
    backward: [usize; 4],
    /// At the head, where every token is a target.
    head: usize,
    /// What a pass reads of the pack.
    packed: usize,
}

impl Row {
    fn new(config: &Config, layouts: &[Layout; 4], size: usize) -> Self {
        const FLOAT: usize = size_of::<f32>();
        let [qkv, _, gate_up, _] = layouts;
        let (h, heads) = (config.hidden, config.heads * FLOAT);
        let [in_qkv, in_o, in_gate_up, in_down] = layouts.each_ref().map(Layout::stride);
        let logits = CHUNK.min(config.vocab_size.next_multiple_of(8));
        let backward = [2 * in_qkv + qkv.out, in_o + qkv.out, 2 * in_gate_up, 2 * in_down];
        // The residual stream and its gathered rows; the softmax of a chunk; the way back.
        let gathered = 5 * h * size;
        let softmax = (2 * h + logits) * size + (h + logits + 3) * FLOAT;
        let back = 5 * h * size + (h + 4) * FLOAT;
        Self {
            input: h * size,
            kept: (2 * h + qkv.out + in_o + gate_up.out) * size + heads,
            forward: (h + in_qkv.max(in_gate_up).max(in_down).max(in_o)) * size,
            backward: backward.map(|values| (h + values) * size + heads),
            head: gathered.max(softmax).max(back),
            // 10 numbers, and an angle's cosine and sine.
            packed: (10 + config.head_dim) * FLOAT,
        }
    }
}
