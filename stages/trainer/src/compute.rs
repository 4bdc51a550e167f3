//! What computes log-probs and gradients of batches: this machine's threads, or a device.

use std::fmt::{self, Debug, Display};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use obvert_device::Stored;

use crate::device::DeviceModel;
use crate::error::Error;
use crate::gradient::{BatchGradient, Reference, ResponseLogps};
use crate::lora::Adapter;
use crate::loss::PreferenceLoss;
use crate::model::Model;
use crate::pair::TokenPair;
use crate::passes::Passes;
use crate::real::Real;
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

impl<F: Real> Compute<F> for Passes<F> {
    fn logprobs(
        &self,
        model: &Model<F>,
        adapter: Option<&Adapter<F>>,
        pairs: &[TokenPair],
    ) -> Result<Vec<ResponseLogps>, Error> {
        Self::logprobs(self, model, adapter, pairs)
    }

    fn batch_gradient(
        &self,
        model: &Model<F>,
        adapter: &Adapter<F>,
        pairs: &[TokenPair],
        reference: Reference<'_>,
        loss: &dyn PreferenceLoss,
    ) -> Result<BatchGradient<F>, Error> {
        Self::batch_gradient(self, model, adapter, pairs, reference, loss)
    }

    fn give_back(&self, gradient: Adapter<F>) {
        Self::give_back(self, gradient);
    }

    fn asked(&self) -> usize {
        Self::asked(self)
    }
}

/// A device has its own copy of the model, and one user at a time.
impl<S: Stored + Debug> Compute<f32> for Mutex<DeviceModel<S>> {
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

/// Where a run is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Place {
    /// The first GPU; this machine's threads where there is none.
    Auto,
    /// This machine's threads: the default until the kernels have run on a GPU.
    #[default]
    Cpu,
    /// A GPU by its number.
    Cuda(usize),
}

impl Place {
    /// Where that is on this machine: never [`Place::Auto`].
    pub fn found(self) -> Self {
        match self {
            Self::Auto if gpus() > 0 => Self::Cuda(0),
            Self::Auto => Self::Cpu,
            place => place,
        }
    }
}

/// GPUs that can be computed on.
fn gpus() -> usize {
    #[cfg(feature = "cuda")]
    return obvert_device::cuda::Cuda::count();
    #[cfg(not(feature = "cuda"))]
    0
}

/// What computes at a place, for adapters of the shape of `adapter`, in passes of so many packed tokens.
///
/// # Errors
/// There is no such device, or not enough memory on it.
pub fn at(
    place: Place,
    model: &Arc<Model<f32>>,
    adapter: Option<&Adapter<f32>>,
    (micro_tokens, activations): (usize, Activations),
) -> Result<Box<dyn Compute<f32>>, Error> {
    match place.found() {
        #[cfg(feature = "cuda")]
        Place::Cuda(number) => {
            let (device, targets) = (obvert_device::cuda::Cuda::start(number)?, adapter.map(Adapter::targets));
            let shape = (adapter.map_or(0, |adapter| adapter.rank), &*targets.unwrap_or_default());
            let model = DeviceModel::new(device, Arc::clone(model), shape, (micro_tokens, activations))?;
            Ok(Box::new(Mutex::new(model)))
        }
        #[cfg(not(feature = "cuda"))]
        Place::Cuda(_) => Err(Error::unsupported("device", place, "this program was built without the feature `cuda`")),
        Place::Auto | Place::Cpu => Ok(Box::new(Passes::new(micro_tokens, activations))),
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.strip_prefix("cuda:")?.parse().ok();
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            _ => {
                number(text).map(Self::Cuda).ok_or_else(|| format!("{text:?} is none of auto, cpu, cuda:0, cuda:1, …"))
            }
        }
    }
}

impl TryFrom<String> for Place {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl From<Place> for String {
    fn from(place: Place) -> Self {
        place.to_string()
    }
}

impl schemars::JsonSchema for Place {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Place".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^(auto|cpu|cuda:[0-9]+)$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        for (text, place) in [("auto", Place::Auto), ("cpu", Place::Cpu), ("cuda:3", Place::Cuda(3))] {
            assert_eq!((text.parse(), place.to_string()), (Ok(place), text.to_owned()));
        }
        for text in ["", "gpu", "cuda", "cuda:", "cuda:-1", "CPU"] {
            assert!(text.parse::<Place>().unwrap_err().contains("none of auto, cpu, cuda:0"), "{text}");
        }
    }
}
