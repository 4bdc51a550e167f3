//! Log-probs and gradients of batches on a device. The readable reference is the CPU's: `forward.rs`, `backward.rs`.

mod batch;
mod block;
mod frozen;
mod fused;
mod head;
mod layout;
mod learner;
mod margin;
mod plan;

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use obvert_device::ops::embed;
use obvert_device::{Array, Device, Stored};

use crate::compute::Compute;
use crate::config::Config;
use crate::error::Error;
use crate::gradient::{Batch, ResponseLogps, Scored, responses};
use crate::lora::Adapter;
use crate::model::Model;
use crate::pair::{TokenPair, check_all};
use crate::passes::{chunks, chunks_of, pack};
use crate::projection::Projection;
use crate::settings::Activations;
use batch::Packed;
use block::{Block, Kept, Shared, Stream, layouts};
use fused::{Fused, Low};
use head::{Head, Heard};
pub use learner::DeviceLearner;
use margin::Compared;
pub use plan::{MemoryPlan, Planned};

/// A model on a device, with room for adapters of one shape.
#[derive(Debug)]
pub struct DeviceModel<F> {
    device: Device<F>,
    config: Config,
    blocks: Vec<Block<F>>,
    embed: Array<F>,
    final_norm: Array<F>,
    /// `None` where it is the embedding.
    head: Option<Array<F>>,
    /// An adapter's.
    values: usize,
    micro_tokens: usize,
    activations: Activations,
}

/// What is kept of a block until its backward.
#[derive(Debug)]
enum Saved<F> {
    All(Box<Kept<F>>),
    /// The residual stream before it, from which the rest is computed again.
    Input(Arc<Array<F>>),
}

impl<F: Stored + Debug> Compute<f32> for DeviceModel<F> {
    fn logprobs(&mut self, adapter: Option<&Adapter<f32>>, pairs: &[TokenPair]) -> Result<Vec<ResponseLogps>, Error> {
        let scale = adapter.map(|adapter| self.bring(adapter)).transpose()?;
        self.score(scale, pairs)
    }
}

impl<F: Stored> DeviceModel<F> {
    /// Copies a model to a device, with room for adapters of this rank and for these projections; passes are of
    /// `micro_tokens` packed tokens, each of at least one pair.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn new(
        device: Device<F>,
        model: &Model<f32>,
        adapter: (usize, &[Projection]),
        (micro_tokens, activations): (usize, Activations),
    ) -> Result<Self, Error> {
        let table = |weight: &crate::weight::Weight<f32>| {
            let mut values = vec![0.0; weight.rows() * weight.cols()];
            values.chunks_exact_mut(weight.cols()).enumerate().for_each(|(at, row)| weight.read(at, row));
            device.store("the embedding", &values)
        };
        let (layouts, mut values) = (layouts(&model.config, adapter), 0);
        let block = |layer| -> Result<Block<F>, obvert_device::Error> {
            let block = Block::new(&device, layer, &layouts, values)?;
            values += block.fused.iter().map(Fused::values).sum::<usize>();
            Ok(block)
        };
        let blocks = model.layers.iter().map(block).collect::<Result<_, _>>()?;
        let (embed, head) = (table(&model.embed)?, model.head.as_ref().map(table).transpose()?);
        let final_norm = device.store("a norm", &model.final_norm)?;
        let config = model.config.clone();
        Ok(Self { device, config, blocks, embed, final_norm, head, values, micro_tokens, activations })
    }

    /// The log-probs of every pair's responses, with the adapter in place at alpha/r, or without.
    fn score(&self, scale: Option<f32>, pairs: &[TokenPair]) -> Result<Vec<ResponseLogps>, Error> {
        check_all(pairs, &self.config)?;
        let mut logps = Vec::with_capacity(pairs.len());
        for range in chunks(pairs, self.micro_tokens) {
            let batch = Packed::new(&self.device, &self.config, &pack(&pairs[range]))?;
            if batch.count == 0 {
                // Pairs without responses.
                logps.extend(responses(&vec![0.0; batch.sequences]));
                continue;
            }
            let shared = self.shared(&batch, scale);
            let stream = self.forward(&shared, drop)?;
            let (found, _) = self.head().score(&shared, stream, false)?;
            logps.extend(responses(&wide(&found)?));
        }
        Ok(logps)
    }

    /// The share of some pairs in a batch's loss, and in its gradient, to which it is added.
    fn add_gradient(
        &self,
        batch: &Batch<'_>,
        share: Range<usize>,
        (scale, gradient): (f32, &Array<f32>),
    ) -> Result<Scored, Error> {
        check_all(batch.pairs, &self.config)?;
        let chunks = chunks_of(batch.pairs, share, self.micro_tokens);
        let policy = match batch.needs_all(&chunks) {
            true => Some(self.score(Some(scale), batch.pairs)?),
            false => None,
        };
        let batch = policy.as_deref().map_or(*batch, |policy| batch.known(policy));
        let lows = |block: &Block<F>| block.fused.each_ref().map(|fused| fused.low(gradient));
        let mut low: Vec<[Low; 4]> = self.blocks.iter().map(lows).collect();
        let mut scored = Scored::default();
        for range in chunks {
            scored.add(self.pass(&range, &batch, (scale, &mut low))?);
        }
        Ok(scored)
    }

    /// Adds the share of pairs that are computed at once.
    fn pass(
        &self,
        range: &Range<usize>,
        batch: &Batch<'_>,
        (scale, low): (f32, &mut [[Low; 4]]),
    ) -> Result<Scored, Error> {
        let packed = Packed::new(&self.device, &self.config, &pack(&batch.pairs[range.clone()]))?;
        let compared = Compared::new(&self.device, batch, range)?;
        let (shared, mut saved) = (self.shared(&packed, Some(scale)), Vec::with_capacity(self.blocks.len()));
        let stream = self.forward(&shared, |kept| {
            saved.push(match self.activations {
                Activations::Keep => Saved::All(Box::new(kept)),
                Activations::Recompute => Saved::Input(kept.input),
            });
        })?;
        let (policy, heard) = self.head().score(&shared, stream, true)?;
        let Some(compared) = compared else {
            let (scored, coefficients) = batch.terms(range, &wide(&policy)?);
            let coefficients: Vec<f32> = coefficients.iter().map(|value| *value as f32).collect();
            self.backward(&shared, heard, (&self.device.copy("coefficients", &coefficients)?, saved), low)?;
            return Ok(scored);
        };
        let terms = compared.terms(&self.device, &policy)?;
        self.backward(&shared, heard, (&terms.coefficients, saved), low)?;
        let loss = f64::from(terms.sum.read()?[0]) / batch.pairs.len() as f64;
        Ok(Scored { loss, logps: responses(&wide(&policy)?) })
    }

    /// From what a pass's responses are worth to the adapter's gradient.
    fn backward(
        &self,
        shared: &Shared<'_, F>,
        heard: Heard<F>,
        (coefficients, mut saved): (&Array<f32>, Vec<Saved<F>>),
        low: &mut [[Low; 4]],
    ) -> Result<(), Error> {
        let mut d = self.head().backward(shared, heard, coefficients)?;
        for (layer, (block, low)) in self.blocks.iter().zip(low).enumerate().rev() {
            let named = |source| Error::Block { layer, source };
            let kept = match saved.pop() {
                Some(Saved::All(kept)) => *kept,
                Some(Saved::Input(sum)) => block.keep(shared, Stream { sum, more: None }).map_err(named)?,
                None => break,
            };
            block.backward(shared, &mut d, kept, (low, layer > 0)).map_err(named)?;
        }
        Ok(())
    }

    /// The residual stream after the last block; what each block leaves goes to `keep`.
    fn forward(&self, shared: &Shared<'_, F>, mut keep: impl FnMut(Kept<F>)) -> Result<Stream<F>, Error> {
        let (rows, width) = (shared.batch.rows, self.config.hidden);
        let mut x = self.device.room("the residual stream", rows * width)?;
        embed::gather(&self.device, &mut x, (&self.embed, width), &shared.batch.tokens, [rows, width])?;
        let mut stream = Stream { sum: Arc::new(x), more: None };
        for (layer, block) in self.blocks.iter().enumerate() {
            let (next, kept) = block.forward(shared, stream).map_err(|source| Error::Block { layer, source })?;
            keep(kept);
            stream = next;
        }
        Ok(stream)
    }

    fn shared<'a>(&'a self, batch: &'a Packed, scale: Option<f32>) -> Shared<'a, F> {
        Shared { device: &self.device, config: &self.config, batch, scale }
    }

    fn head(&self) -> Head<'_, F> {
        Head { norm: &self.final_norm, weight: self.head.as_ref().unwrap_or(&self.embed) }
    }

    /// An adapter's values in the order in which they lie on the device.
    fn flat(&self, adapter: &Adapter<f32>) -> Result<Vec<f32>, Error> {
        adapter.check(&self.config)?;
        let fits =
            |(layer, block): (usize, &Block<F>)| block.fused.iter().all(|fused| fused.has_room_for(adapter, layer));
        if !self.blocks.iter().enumerate().all(fits) {
            let reason = "the device has room for one of another rank or for other projections";
            return Err(Error::field("adapter", reason));
        }
        let mut values = vec![0.0; self.values];
        for (block, adapted) in self.blocks.iter().zip(&adapter.layers) {
            for (projection, a, b) in block.fused.iter().flat_map(Fused::slots) {
                let Some(low) = &adapted[projection.index()] else { continue };
                values[a].copy_from_slice(&low.a.data);
                values[b].copy_from_slice(&low.b.data);
            }
        }
        Ok(values)
    }

    /// The adapter whose values lie so, of the shape of another.
    fn unflat(&self, values: &[f32], like: &Adapter<f32>) -> Adapter<f32> {
        let mut adapter = like.zeros_like();
        for (block, adapted) in self.blocks.iter().zip(&mut adapter.layers) {
            for (projection, a, b) in block.fused.iter().flat_map(Fused::slots) {
                let Some(low) = &mut adapted[projection.index()] else { continue };
                low.a.data.copy_from_slice(&values[a]);
                low.b.data.copy_from_slice(&values[b]);
            }
        }
        adapter
    }

    /// Copies an adapter to where the products read it; alpha/r.
    fn bring(&mut self, adapter: &Adapter<f32>) -> Result<f32, Error> {
        let values = self.device.copy("an adapter", &self.flat(adapter)?)?;
        self.place(&values, adapter.scale())?;
        Ok(adapter.scale())
    }

    /// Rounds an adapter's values to where the products read them.
    fn place(&mut self, values: &Array<f32>, scale: f32) -> Result<(), Error> {
        for fused in self.blocks.iter_mut().flat_map(|block| &mut block.fused) {
            let low = fused.low(values);
            fused.place(&self.device, &low, scale)?;
        }
        Ok(())
    }
}

/// Log-probs that are on the device.
fn wide(values: &Array<f32>) -> Result<Vec<f64>, Error> {
    Ok(values.read()?.into_iter().map(f64::from).collect())
}
