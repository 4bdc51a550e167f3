//! What computes: this machine's threads, or a device.

use std::borrow::Cow;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use crate::adamw::{Moments, Step};
use crate::error::Error;
use crate::gradient::{Batch, ResponseLogps, Scored};
use crate::local::Local;
use crate::lora::Adapter;
use crate::model::Model;
use crate::pair::TokenPair;
use crate::passes::Passes;
use crate::peers::Peers;
use crate::place::Place;
use crate::projection::Projection;
use crate::real::Real;
use crate::settings::Activations;

/// Computes the log-probs of a model's responses.
pub trait Compute<F>: Debug + Send {
    /// The log-probs of every pair's responses, under an adapter or under the bare model.
    ///
    /// # Errors
    /// A pair or an adapter that does not fit the model; what a device reports.
    fn logprobs(&mut self, adapter: Option<&Adapter<F>>, pairs: &[TokenPair]) -> Result<Vec<ResponseLogps>, Error>;
}

/// An adapter that learns, and the optimizer's state, where they are computed.
///
/// An update is [`Learner::gradient`], [`Learner::reduce`] where the batch is shared, [`Learner::clip`], [`Learner::update`].
/// Nothing but the last one changes the adapter.
pub trait Learner<F: Real>: Compute<F> {
    /// The log-probs of every pair's responses, under the adapter as it is.
    ///
    /// # Errors
    /// As [`Compute::logprobs`].
    fn policy(&mut self, pairs: &[TokenPair]) -> Result<Vec<ResponseLogps>, Error>;

    /// The share of some pairs of a batch in its loss, and in the loss's gradient, which is kept.
    ///
    /// # Errors
    /// A pair that does not fit the model; what a device reports.
    fn gradient(&mut self, batch: &Batch<'_>, share: Range<usize>) -> Result<Scored, Error>;

    /// Adds the gradients of others to the gradient; all have the same afterwards, bit for bit.
    ///
    /// # Errors
    /// One of them is lost; what a device reports.
    fn reduce(&mut self, peers: &mut dyn Peers) -> Result<(), Error>;

    /// The Euclidean norm of the gradient, which is shrunk to `most` where it is greater; 0 leaves it.
    ///
    /// # Errors
    /// What a device reports.
    fn clip(&mut self, most: f64) -> Result<f64, Error>;

    /// One update from the gradient.
    ///
    /// # Errors
    /// What a device reports.
    fn update(&mut self, step: &Step) -> Result<(), Error>;

    /// The adapter as it is.
    ///
    /// # Errors
    /// What a device reports.
    fn adapter(&self) -> Result<Cow<'_, Adapter<F>>, Error>;

    /// The optimizer's moments as they are.
    ///
    /// # Errors
    /// What a device reports.
    fn moments(&self) -> Result<Cow<'_, Moments<F>>, Error>;

    /// Goes on from another adapter of the same shape, and its moments.
    ///
    /// # Errors
    /// What a device reports.
    fn restore(&mut self, adapter: Adapter<F>, moments: Moments<F>) -> Result<(), Error>;

    /// Bytes of this machine's memory asked of the system for working in so far.
    fn asked(&self) -> usize {
        0
    }
}

/// What computes at a place, in passes of so many packed tokens, with room for an adapter of this rank on these
/// projections.
///
/// # Errors
/// There is no such device, or not enough memory on it.
#[cfg_attr(not(feature = "cuda"), expect(unused_variables, reason = "only a device needs room for an adapter"))]
pub fn at(
    place: Place,
    model: &Arc<Model<f32>>,
    shape: (usize, &[Projection]),
    passes: (usize, Activations),
) -> Result<Box<dyn Compute<f32>>, Error> {
    match place.found() {
        #[cfg(feature = "cuda")]
        Place::Cuda(number) => {
            let device = obvert_device::cuda::Cuda::start(number)?;
            Ok(Box::new(crate::device::DeviceModel::new(device, model, shape, passes)?))
        }
        place => Ok(Box::new((Arc::clone(model), threads(place, passes)?))),
    }
}

/// What trains an adapter at a place, in passes of so many packed tokens.
///
/// # Errors
/// There is no such device, or not enough memory on it.
pub fn learner(
    place: Place,
    model: &Arc<Model<f32>>,
    adapter: Adapter<f32>,
    passes: (usize, Activations),
) -> Result<Box<dyn Learner<f32>>, Error> {
    match place.found() {
        #[cfg(feature = "cuda")]
        Place::Cuda(number) => {
            refuse_what_does_not_fit(place, model, (adapter.rank, &adapter.targets()), passes)?;
            let device = obvert_device::cuda::Cuda::start(number)?;
            Ok(Box::new(crate::device::DeviceLearner::new(device, model, adapter, passes)?))
        }
        place => Ok(Box::new(Local::new(Arc::clone(model), threads(place, passes)?, adapter))),
    }
}

/// Before anything is on the device; a pair of more tokens than a pass takes more.
#[cfg(feature = "cuda")]
fn refuse_what_does_not_fit(
    place: Place,
    model: &Model<f32>,
    adapter: (usize, &[Projection]),
    (micro_tokens, activations): (usize, Activations),
) -> Result<(), Error> {
    use crate::device::{MemoryPlan, Planned};
    let planned = Planned { config: &model.config, adapter, micro_tokens, activations };
    MemoryPlan::of_model::<half::bf16>(model, planned).check(place.free_memory()?)
}

/// This machine's threads; a GPU only fails to be there.
fn threads(place: Place, (micro_tokens, activations): (usize, Activations)) -> Result<Passes<f32>, Error> {
    match place {
        Place::Cuda(_) => Err(Error::unsupported("device", place, "this program was built without the feature `cuda`")),
        Place::Auto | Place::Cpu => Ok(Passes::new(micro_tokens, activations)),
    }
}
