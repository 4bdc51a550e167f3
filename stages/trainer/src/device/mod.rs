//! Log-probs and gradients of batches on a device. The readable reference is the CPU's: `forward.rs`, `backward.rs`.

mod batch;
mod block;
mod fused;
mod head;

use std::fmt::Debug;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use obvert_device::ops::embed;
use obvert_device::{Array, Device, Stored};

use crate::compute::Compute;
use crate::config::Config;
use crate::error::Error;
use crate::gradient::{Batch as Terms, BatchGradient, Reference, ResponseLogps, check_loss, pair_logps, responses};
use crate::lora::Adapter;
use crate::loss::{PreferenceLoss, Scope};
use crate::model::Model;
use crate::pair::{TokenPair, check_all};
use crate::passes::{chunks, pack};
use crate::projection::Projection;
use crate::settings::Activations;
use batch::Batch;
use block::{Block, Kept, Shared, Stream};
use fused::Low;
use head::Head;

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

/// A device has its own copy of the model, and one user at a time.
impl<F: Stored + Debug> Compute<f32> for Mutex<DeviceModel<F>> {
    fn logprobs(
        &self,
        _model: &Model<f32>,
        adapter: Option<&Adapter<f32>>,
        pairs: &[TokenPair],
    ) -> Result<Vec<ResponseLogps>, Error> {
        held(self).logprobs(adapter, pairs)
    }

    fn batch_gradient(
        &self,
        _model: &Model<f32>,
        adapter: &Adapter<f32>,
        pairs: &[TokenPair],
        reference: Reference<'_>,
        loss: &dyn PreferenceLoss,
    ) -> Result<BatchGradient<f32>, Error> {
        held(self).batch_gradient(adapter, pairs, reference, loss)
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        let blocks = model.layers.iter().map(|layer| Block::new(&device, layer, adapter)).collect::<Result<_, _>>()?;
        let (embed, head) = (table(&model.embed)?, model.head.as_ref().map(table).transpose()?);
        let final_norm = device.store("a norm", &model.final_norm)?;
        let config = model.config.clone();
        Ok(Self { device, config, blocks, embed, final_norm, head, micro_tokens, activations })
    }

    /// The log-probs of every pair's responses, with or without an adapter.
    ///
    /// # Errors
    /// A pair that does not fit the model; what the machine says.
    pub fn logprobs(
        &mut self,
        adapter: Option<&Adapter<f32>>,
        pairs: &[TokenPair],
    ) -> Result<Vec<ResponseLogps>, Error> {
        check_all(pairs, &self.config)?;
        let scale = adapter.map(|adapter| self.place(adapter)).transpose()?;
        self.score(scale, pairs)
    }

    fn score(&self, scale: Option<f32>, pairs: &[TokenPair]) -> Result<Vec<ResponseLogps>, Error> {
        let mut logps = Vec::with_capacity(pairs.len());
        for range in chunks(pairs, self.micro_tokens) {
            let batch = Batch::new(&self.device, &self.config, &pack(&pairs[range]))?;
            if batch.count == 0 {
                // Pairs without responses.
                logps.extend(responses(&vec![0.0; batch.sequences]));
                continue;
            }
            let shared = self.shared(&batch, scale);
            let stream = self.forward(&shared, drop)?;
            logps.extend(responses(&self.head().score(&shared, stream, false)?.responses));
        }
        Ok(logps)
    }

    /// Mean loss and gradient of a batch, as the CPU's passes compute them.
    ///
    /// # Errors
    /// A pair that does not fit the model or the loss, or a number of reference log-probs other than that of pairs; what
    /// the machine says.
    pub fn batch_gradient(
        &mut self,
        adapter: &Adapter<f32>,
        pairs: &[TokenPair],
        reference: Reference<'_>,
        loss: &dyn PreferenceLoss,
    ) -> Result<BatchGradient<f32>, Error> {
        check_all(pairs, &self.config)?;
        check_loss(pairs, reference.logps, loss)?;
        let (scale, chunks) = (self.place(adapter)?, chunks(pairs, self.micro_tokens));
        let known = match loss.scope() {
            Scope::Batch | Scope::Mismatched if chunks.len() > 1 => Some(self.score(Some(scale), pairs)?),
            _ => None,
        };
        let known = known.map(|policy| pair_logps(pairs, &policy, reference.logps));
        let terms = Terms { loss, pairs, reference, known };
        let mut low = self.zeros()?;
        let mut sum = BatchGradient { loss: 0.0, logps: Vec::new(), gradient: adapter.zeros_like() };
        for range in chunks {
            self.pass(&range, &terms, scale, &mut low, &mut sum)?;
        }
        for (layer, (block, low)) in self.blocks.iter().zip(&low).enumerate() {
            for (fused, low) in block.fused.iter().zip(low) {
                fused.download(low, &mut sum.gradient, layer)?;
            }
        }
        Ok(sum)
    }

    /// Adds the share of some pairs.
    fn pass(
        &self,
        range: &Range<usize>,
        terms: &Terms<'_>,
        scale: f32,
        low: &mut [[Low; 4]],
        sum: &mut BatchGradient<f32>,
    ) -> Result<(), Error> {
        let batch = Batch::new(&self.device, &self.config, &pack(&terms.pairs[range.clone()]))?;
        let (shared, mut saved) = (self.shared(&batch, Some(scale)), Vec::with_capacity(self.blocks.len()));
        let stream = self.forward(&shared, |kept| {
            saved.push(match self.activations {
                Activations::Keep => Saved::All(Box::new(kept)),
                Activations::Recompute => Saved::Input(kept.input),
            });
        })?;
        let scored = self.head().score(&shared, stream, true)?;
        let (loss, logps, coefficients) = terms.terms(range, &scored.responses);
        sum.loss += loss;
        sum.logps.extend(logps);
        let mut d = self.head().backward(&shared, scored, &coefficients)?;
        for (index, (block, low)) in self.blocks.iter().zip(low).enumerate().rev() {
            let kept = match saved.pop() {
                Some(Saved::All(kept)) => *kept,
                Some(Saved::Input(sum)) => block.keep(&shared, Stream { sum, more: None })?,
                None => break,
            };
            block.backward(&shared, &mut d, kept, (low, index > 0))?;
        }
        Ok(())
    }

    /// The residual stream after the last block; what each block leaves goes to `keep`.
    fn forward(&self, shared: &Shared<'_, F>, mut keep: impl FnMut(Kept<F>)) -> Result<Stream<F>, Error> {
        let (rows, width) = (shared.batch.rows, self.config.hidden);
        let mut x = self.device.room("the residual stream", rows * width)?;
        embed::gather(&self.device, &mut x, (&self.embed, width), &shared.batch.tokens, [rows, width])?;
        let mut stream = Stream { sum: Arc::new(x), more: None };
        for block in &self.blocks {
            let (next, kept) = block.forward(shared, stream)?;
            keep(kept);
            stream = next;
        }
        Ok(stream)
    }

    fn shared<'a>(&'a self, batch: &'a Batch, scale: Option<f32>) -> Shared<'a, F> {
        Shared { device: &self.device, config: &self.config, batch, scale }
    }

    fn head(&self) -> Head<'_, F> {
        Head { norm: &self.final_norm, weight: self.head.as_ref().unwrap_or(&self.embed) }
    }

    /// Writes an adapter to where the products read it; alpha/r.
    fn place(&mut self, adapter: &Adapter<f32>) -> Result<f32, Error> {
        adapter.check(&self.config)?;
        let fits =
            |(layer, block): (usize, &Block<F>)| block.fused.iter().all(|fused| fused.has_room_for(adapter, layer));
        if !self.blocks.iter().enumerate().all(fits) {
            return Err(Error::field(
                "adapter",
                "the device has room for one of another rank or for other projections",
            ));
        }
        for (layer, block) in self.blocks.iter_mut().enumerate() {
            for fused in &mut block.fused {
                let low = fused.upload(&self.device, adapter, layer)?;
                fused.place(&self.device, &low, adapter.scale())?;
            }
        }
        Ok(adapter.scale())
    }

    fn zeros(&self) -> Result<Vec<[Low; 4]>, Error> {
        let block = |block: &Block<F>| {
            let [a, b, c, d] = block.fused.each_ref().map(|fused| fused.zeros(&self.device));
            Ok([a?, b?, c?, d?])
        };
        self.blocks.iter().map(block).collect()
    }
}
