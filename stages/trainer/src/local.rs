//! An adapter that learns on this machine's threads.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use crate::adamw::{Moments, Step, clip, global_norm};
use crate::compute::{Compute, Learner};
use crate::error::Error;
use crate::gradient::{Batch, ResponseLogps, Scored};
use crate::lora::Adapter;
use crate::model::Model;
use crate::pair::TokenPair;
use crate::passes::Passes;
use crate::peers::{self, Peers};
use crate::real::Real;

/// A model, an adapter and its optimizer's moments, in this machine's memory.
#[derive(Debug)]
pub struct Local<F> {
    model: Arc<Model<F>>,
    passes: Passes<F>,
    adapter: Adapter<F>,
    moments: Moments<F>,
    /// Of the batch at hand.
    gradient: Adapter<F>,
}

impl<F: Real> Local<F> {
    /// An adapter with a fresh optimizer.
    pub fn new(model: Arc<Model<F>>, passes: Passes<F>, adapter: Adapter<F>) -> Self {
        let (moments, gradient) = (Moments::zeros(&adapter), adapter.zeros_like());
        Self { model, passes, adapter, moments, gradient }
    }
}

impl<F: Real> Compute<F> for (Arc<Model<F>>, Passes<F>) {
    fn logprobs(&mut self, adapter: Option<&Adapter<F>>, pairs: &[TokenPair]) -> Result<Vec<ResponseLogps>, Error> {
        self.1.logprobs(&self.0, adapter, pairs)
    }
}

impl<F: Real> Compute<F> for Local<F> {
    fn logprobs(&mut self, adapter: Option<&Adapter<F>>, pairs: &[TokenPair]) -> Result<Vec<ResponseLogps>, Error> {
        self.passes.logprobs(&self.model, adapter, pairs)
    }
}

impl<F: Real> Learner<F> for Local<F> {
    fn policy(&mut self, pairs: &[TokenPair]) -> Result<Vec<ResponseLogps>, Error> {
        self.passes.logprobs(&self.model, Some(&self.adapter), pairs)
    }

    fn gradient(&mut self, batch: &Batch<'_>, share: Range<usize>) -> Result<Scored, Error> {
        self.gradient.matrices_mut().for_each(|matrix| matrix.data.fill(F::ZERO));
        self.passes.add_gradient((&self.model, &self.adapter), batch, share, &mut self.gradient)
    }

    fn reduce(&mut self, peers: &mut dyn Peers) -> Result<(), Error> {
        let mut values: Vec<F> = self.gradient.matrices().flat_map(|matrix| matrix.data.iter().copied()).collect();
        peers::sum(peers, &mut values)?;
        let mut values = values.into_iter();
        for matrix in self.gradient.matrices_mut() {
            matrix.data.iter_mut().zip(&mut values).for_each(|(to, value)| *to = value);
        }
        Ok(())
    }

    fn clip(&mut self, most: f64) -> Result<f64, Error> {
        let norm = global_norm(&self.gradient);
        clip(&mut self.gradient, norm, most);
        Ok(norm)
    }

    fn update(&mut self, step: &Step) -> Result<(), Error> {
        step.update(&mut self.adapter, &self.gradient, &mut self.moments);
        Ok(())
    }

    fn adapter(&self) -> Result<Cow<'_, Adapter<F>>, Error> {
        Ok(Cow::Borrowed(&self.adapter))
    }

    fn moments(&self) -> Result<Cow<'_, Moments<F>>, Error> {
        Ok(Cow::Borrowed(&self.moments))
    }

    fn restore(&mut self, adapter: Adapter<F>, moments: Moments<F>) -> Result<(), Error> {
        (self.adapter, self.moments) = (adapter, moments);
        Ok(())
    }

    fn asked(&self) -> usize {
        self.passes.asked()
    }
}
