//! What computes log-probs and gradients of batches: this machine's threads, or a device.

use std::fmt::Debug;

use crate::error::Error;
use crate::gradient::{BatchGradient, Reference, ResponseLogps};
use crate::lora::Adapter;
use crate::loss::PreferenceLoss;
use crate::model::Model;
use crate::pair::TokenPair;
use crate::passes::Passes;
use crate::place::Place;
use crate::settings::Activations;

/// Computes batches of a model that it may have a copy of.
pub trait Compute<F>: Debug + Send + Sync {
    /// The log-probs of every pair's responses, with or without an adapter.
    ///
    /// # Errors
    /// A pair or an adapter that does not fit the model; what a device reports.
    fn logprobs(
        &self,
        model: &Model<F>,
        adapter: Option<&Adapter<F>>,
        pairs: &[TokenPair],
    ) -> Result<Vec<ResponseLogps>, Error>;

    /// Mean loss and gradient of a batch.
    ///
    /// # Errors
    /// A pair or an adapter that does not fit the model or the loss, or a number of reference log-probs other than that of
    /// pairs; what a device reports.
    fn batch_gradient(
        &self,
        model: &Model<F>,
        adapter: &Adapter<F>,
        pairs: &[TokenPair],
        reference: Reference<'_>,
        loss: &dyn PreferenceLoss,
    ) -> Result<BatchGradient<F>, Error>;

    /// Gives the memory of a gradient back, for the next one.
    fn give_back(&self, _gradient: Adapter<F>) {}

    /// Bytes of this machine's memory asked of the system for working in so far.
    fn asked(&self) -> usize {
        0
    }
}

/// What computes at a place, for adapters of the shape of `adapter`, in passes of so many packed tokens.
///
/// # Errors
/// There is no such device, or not enough memory on it.
pub fn at(
    place: Place,
    model: &Model<f32>,
    adapter: Option<&Adapter<f32>>,
    (micro_tokens, activations): (usize, Activations),
) -> Result<Box<dyn Compute<f32>>, Error> {
    match place.found() {
        #[cfg(feature = "cuda")]
        Place::Cuda(number) => {
            let (device, targets) = (obvert_device::cuda::Cuda::start(number)?, adapter.map(Adapter::targets));
            let shape = (adapter.map_or(0, |adapter| adapter.rank), &*targets.unwrap_or_default());
            let model = crate::device::DeviceModel::new(device, model, shape, (micro_tokens, activations))?;
            Ok(Box::new(std::sync::Mutex::new(model)))
        }
        #[cfg(not(feature = "cuda"))]
        Place::Cuda(_) => Err(Error::unsupported("device", place, "this program was built without the feature `cuda`")),
        Place::Auto | Place::Cpu => Ok(Box::new(Passes::new(micro_tokens, activations))),
    }
}
