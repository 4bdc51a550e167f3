//! The head on the device: log-probs of the targets, and their gradients, over chunks of the vocabulary.

use obvert_device::machine::{Kind, Product};
use obvert_device::ops::logprob::{self, CHUNK, Expected};
use obvert_device::ops::{embed, margin, rmsnorm};
use obvert_device::{Array, Error, Stored};

use super::block::{Shared, Stream};

/// The last norm and the head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a, F> {
    /// `[hidden]`.
    pub(super) norm: &'a Array<F>,
    /// `[vocab, hidden]`.
    pub(super) weight: &'a Array<F>,
}

/// What the backward of the head reads.
#[derive(Debug)]
pub(super) struct Heard<F> {
    /// The residual stream at the targets `[targets, hidden]`.
    gathered: Array<F>,
    /// ∂log p/∂(normed hidden state) of every target `[targets, hidden]`, where it is wanted.
    d_logp: Option<Array<F>>,
}

impl<F: Stored> Head<'_, F> {
    /// Summed log-probs of the responses `[responses]`, from the residual stream after the last block.
    pub(super) fn score(
        &self,
        shared: &Shared<'_, F>,
        stream: Stream<F>,
        with_gradient: bool,
    ) -> Result<(Array<f32>, Heard<F>), Error> {
        let Shared { device, config, batch, .. } = *shared;
        let (n, width) = (batch.count, config.hidden);
        let (gathered, hidden) = self.hidden(shared, stream)?;
        let mut state = device.room("sums of the head", 3 * n)?;
        let sums = self.absorb(shared, &hidden, &mut state, with_gradient)?;
        let mut logps = device.room("log-probs", n)?;
        let mut d_logp = with_gradient.then(|| device.room("gradients of log-probs", n * width)).transpose()?;
        let gradient = d_logp.as_mut().zip(sums.as_ref());
        logprob::finish(device, &mut logps, gradient, &state, (self.weight, width), &batch.target_tokens)?;
        let mut responses = device.room("log-probs", batch.sequences)?;
        margin::response_sums(device, &mut responses, &logps, &batch.first_of_response, batch.sequences)?;
        Ok((responses, Heard { gathered, d_logp }))
    }

    /// The residual stream at the targets, and its norm.
    fn hidden(&self, shared: &Shared<'_, F>, stream: Stream<F>) -> Result<(Array<F>, Array<F>), Error> {
        let Shared { device, config, batch, .. } = *shared;
        let (n, width) = (batch.count, config.hidden);
        let gather = |from: &Array<F>| {
            let mut rows = device.room("rows of targets", n * width)?;
            embed::gather(device, &mut rows, (from, width), &batch.target_rows, [n, width])?;
            Ok(rows)
        };
        let (x, mut hidden) = (gather(&stream.sum)?, device.room("rows of targets", n * width)?);
        let Some(more) = stream.more else {
            rmsnorm::forward(device, (&mut hidden, width), [&x, self.norm], n, shared.eps())?;
            return Ok((x, hidden));
        };
        let (more, mut sum) = (gather(&more)?, device.room("rows of targets", n * width)?);
        let y = (&mut hidden, width);
        rmsnorm::add_forward(device, &mut sum, y, (&more, width), [&x, self.norm], n, shared.eps())?;
        Ok((sum, hidden))
    }

    /// Takes the vocabulary into the running softmax, chunk by chunk; Σ exp(z) W `[targets, hidden]`, where it is wanted.
    fn absorb(
        &self,
        shared: &Shared<'_, F>,
        hidden: &Array<F>,
        state: &mut Array<f32>,
        with_gradient: bool,
    ) -> Result<Option<Array<f32>>, Error> {
        let Shared { device, config, batch, .. } = *shared;
        let (n, width, vocab) = (batch.count, config.hidden, config.vocab_size);
        let stride = CHUNK.min(vocab.next_multiple_of(8));
        let logits = device.room("logits", n * stride)?;
        let mut sums = with_gradient.then(|| device.room("sums of the head", n * width)).transpose()?;
        let mut weights = with_gradient.then(|| device.room("weights of the head", n * stride)).transpose()?;
        for first in (0..vocab).step_by(stride) {
            let chunk = first..vocab.min(first + stride);
            let rows = self.weight.matrix(first * width, width, Kind::Real);
            device.multiply(&Product {
                size: [n, chunk.len(), width],
                a: hidden.matrix(0, width, Kind::Real),
                b: rows.t(),
                c: logits.matrix(0, stride, Kind::Float),
                beta: 0.0,
            })?;
            let expected = weights.as_mut().zip(sums.as_mut()).map(|(weights, sums)| Expected { weights, sums });
            logprob::absorb(device, state, expected, &logits, &batch.target_tokens, chunk.clone())?;
            if let (Some(weights), Some(sums)) = (&weights, &sums) {
                device.multiply(&Product {
                    size: [n, width, chunk.len()],
                    a: weights.matrix(0, stride, Kind::Real),
                    b: rows,
                    c: sums.matrix(0, width, Kind::Float),
                    beta: if first == 0 { 0.0 } else { 1.0 },
                })?;
            }
        }
        Ok(sums)
    }

    /// ∂L/∂(residual stream after the last block) `[rows, hidden]`, given ∂L/∂log p of every response.
    pub(super) fn backward(
        &self,
        shared: &Shared<'_, F>,
        heard: Heard<F>,
        coefficients: &Array<f32>,
    ) -> Result<Array<F>, Error> {
        let Shared { device, config, batch, .. } = *shared;
        let (n, width) = (batch.count, config.hidden);
        let Some(d_logp) = heard.d_logp else { return device.room("the residual stream", 0) };
        let mut d_gathered = device.zeros("rows of targets", n * width)?;
        let read = [&heard.gathered, self.norm];
        rmsnorm::backward(device, &mut d_gathered, (&d_logp, width), read, n, shared.eps())?;
        let mut d = device.room("the residual stream", batch.rows * width)?;
        let targets = embed::Targets {
            first: &batch.first_of_row,
            order: &batch.by_row,
            sequences: &batch.target_sequences,
            coefficients,
        };
        embed::scatter(device, &mut d, &d_gathered, targets, [batch.rows, width])?;
        Ok(d)
    }
}
