//! An adapter that learns on a device: its values, the optimizer's state and the gradient stay there between updates.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use obvert_device::machine::Invitation;
use obvert_device::ops::adamw::{self, PARTIALS};
use obvert_device::{Array, Device, Machine, Stored};

use super::DeviceModel;
use crate::adamw::{AdamW, Moments, Step};
use crate::compute::{Compute, Learner};
use crate::error::Error;
use crate::gradient::{Batch, ResponseLogps, Scored};
use crate::lora::Adapter;
use crate::model::Model;
use crate::pair::TokenPair;
use crate::peers::{self, Peers};
use crate::settings::Activations;

/// A model on a device, an adapter and its optimizer's moments, all values in one order.
#[derive(Debug)]
pub struct DeviceLearner<F> {
    model: DeviceModel<F>,
    /// The shape of the adapter; its values are those it started from.
    start: Adapter<f32>,
    weights: Array<f32>,
    first: Array<f32>,
    second: Array<f32>,
    /// Of the batch at hand.
    gradient: Array<f32>,
    /// The gradient's norm, and what it is multiplied by.
    clip: Array<f32>,
    partials: Array<f32>,
    /// Whether the products read the weights, not another adapter.
    placed: bool,
    /// Whether the devices of all processes add up among themselves, once that is known.
    group: Option<bool>,
}

impl<F: Stored + Debug> DeviceLearner<F> {
    /// Copies a model and an adapter to a device, with a fresh optimizer; passes are of `micro_tokens` packed tokens, each of
    /// at least one pair.
    ///
    /// # Errors
    /// There is not enough memory, or the adapter does not fit the model.
    pub fn new(
        device: Device<F>,
        model: &Arc<Model<f32>>,
        adapter: Adapter<f32>,
        passes: (usize, Activations),
    ) -> Result<Self, Error> {
        let shape = (adapter.rank, &*adapter.targets());
        let model = DeviceModel::new(device.clone(), model, shape, passes)?;
        let (values, zeros) = (model.flat(&adapter)?, |what| device.zeros(what, model.values));
        Ok(Self {
            weights: device.copy("an adapter", &values)?,
            first: zeros("first moments")?,
            second: zeros("second moments")?,
            gradient: zeros("a gradient")?,
            clip: device.zeros("a norm", 2)?,
            partials: device.room("sums of squares", PARTIALS)?,
            placed: false,
            group: None,
            start: adapter,
            model,
        })
    }

    /// The gradient of the batch at hand.
    ///
    /// # Errors
    /// What the device says.
    pub fn last_gradient(&self) -> Result<Adapter<f32>, Error> {
        self.read(&self.gradient)
    }

    fn read(&self, values: &Array<f32>) -> Result<Adapter<f32>, Error> {
        Ok(self.model.unflat(&values.read()?, &self.start))
    }

    /// Sees to it that the products read the weights; alpha/r.
    fn place(&mut self) -> Result<f32, Error> {
        let scale = self.start.scale();
        if !self.placed {
            self.model.place(&self.weights, scale)?;
            self.placed = true;
        }
        Ok(scale)
    }
}

impl<F: Stored + Debug> Compute<f32> for DeviceLearner<F> {
    fn logprobs(&mut self, adapter: Option<&Adapter<f32>>, pairs: &[TokenPair]) -> Result<Vec<ResponseLogps>, Error> {
        self.placed &= adapter.is_none();
        self.model.logprobs(adapter, pairs)
    }
}

impl<F: Stored + Debug> Learner<f32> for DeviceLearner<F> {
    fn policy(&mut self, pairs: &[TokenPair]) -> Result<Vec<ResponseLogps>, Error> {
        let scale = self.place()?;
        self.model.score(Some(scale), pairs)
    }

    fn gradient(&mut self, batch: &Batch<'_>, share: Range<usize>) -> Result<Scored, Error> {
        let scale = self.place()?;
        self.gradient.clear()?;
        self.model.add_gradient(batch, share, (scale, &self.gradient))
    }

    fn reduce(&mut self, peers: &mut dyn Peers) -> Result<(), Error> {
        let group = match self.group {
            Some(group) => group,
            None => *self.group.insert(meet(self.model.device.machine(), peers)?),
        };
        if group {
            // A GPU waits for ever for one whose process is lost: those that are lost by now are found out before.
            peers::gather(peers, Vec::new())?;
            return Ok(self.gradient.add_up()?);
        }
        let mut values = self.gradient.read()?;
        peers::sum(peers, &mut values)?;
        Ok(self.gradient.write(0, &values)?)
    }

    fn clip(&mut self, most: f64) -> Result<f64, Error> {
        let Self { model, clip, partials, gradient, .. } = self;
        adamw::clip(&model.device, clip, partials, gradient, most as f32)?;
        Ok(f64::from(clip.read()?[0]))
    }

    fn update(&mut self, step: &Step) -> Result<(), Error> {
        let AdamW { beta1, beta2, eps, weight_decay } = step.optimizer;
        let (number, learning_rate) = (step.number, step.learning_rate);
        let step = adamw::Step { beta1, beta2, eps, weight_decay, learning_rate, number };
        let Self { model, weights, first, second, gradient, clip, .. } = self;
        adamw::update(&model.device, [weights, first, second], gradient, clip, step)?;
        self.placed = false;
        Ok(())
    }

    fn adapter(&self) -> Result<Cow<'_, Adapter<f32>>, Error> {
        self.read(&self.weights).map(Cow::Owned)
    }

    fn moments(&self) -> Result<Cow<'_, Moments<f32>>, Error> {
        Ok(Cow::Owned(Moments { first: self.read(&self.first)?, second: self.read(&self.second)? }))
    }

    fn restore(&mut self, adapter: Adapter<f32>, moments: Moments<f32>) -> Result<(), Error> {
        let [weights, first, second] =
            [&adapter, &moments.first, &moments.second].map(|adapter| self.model.flat(adapter));
        // All are known to fit before anything is written.
        let (weights, first, second) = (weights?, first?, second?);
        self.placed = false;
        self.weights.write(0, &weights)?;
        self.first.write(0, &first)?;
        self.second.write(0, &second)?;
        self.start = adapter;
        Ok(())
    }
}

/// Forms a group of the devices of all processes, where each has one of its own and all can.
fn meet(machine: &dyn Machine, peers: &mut dyn Peers) -> Result<bool, Error> {
    let own = machine.invitation().map(|(invitation, name)| [&name[..], &invitation].concat());
    let all = peers::gather(peers, own.unwrap_or_default())?;
    let names: BTreeSet<&[u8]> = all.iter().filter_map(|card| card.get(..16)).collect();
    let Some(Ok(invitation)) = all[0].get(16..).map(Invitation::try_from) else { return Ok(false) };
    if names.len() < all.len() {
        return Ok(false);
    }
    machine.join(invitation, [peers.index(), peers.count()])?;
    Ok(true)
}
