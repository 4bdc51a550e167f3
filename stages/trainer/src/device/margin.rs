//! Losses −log σ(βD − mg) on the device: a pass need not come back to the CPU between its forward and its backward.

use std::ops::Range;

use obvert_device::ops::margin::{self, Margin, Pairs};
use obvert_device::{Array, Device, Error, Stored};

use crate::gradient::Batch;

/// What the terms of some pairs are computed from, beside the policy's log-probs.
#[derive(Debug)]
pub(super) struct Compared {
    /// The reference's log-probs `[2 pairs]`, chosen and rejected in turn.
    reference: Array<f32>,
    /// `[pairs]`.
    gaps: Array<f32>,
    margin: Margin,
}

/// The terms of some pairs.
#[derive(Debug)]
pub(super) struct Terms {
    /// Their sum `[1]`.
    pub(super) sum: Array<f32>,
    /// ∂(mean loss)/∂log p of each response `[2 pairs]`.
    pub(super) coefficients: Array<f32>,
}

impl Compared {
    /// Nothing for a loss of another form.
    pub(super) fn new<F: Stored>(
        device: &Device<F>,
        batch: &Batch<'_>,
        range: &Range<usize>,
    ) -> Result<Option<Self>, Error> {
        let Some([beta, per_gap]) = batch.logistic() else { return Ok(None) };
        let (pairs, logps) = batch.part(range);
        let reference: Vec<f32> = logps.iter().flat_map(|l| [l.chosen as f32, l.rejected as f32]).collect();
        let gaps: Vec<f32> = pairs.iter().map(|pair| pair.gap).collect();
        Ok(Some(Self {
            reference: device.copy("log-probs of the reference", &reference)?,
            gaps: device.copy("gaps", &gaps)?,
            margin: Margin { beta: beta as f32, per_gap: per_gap as f32, total: batch.pairs.len() },
        }))
    }

    /// The terms, from the policy's log-probs `[2 pairs]`.
    pub(super) fn terms<F: Stored>(&self, device: &Device<F>, policy: &Array<f32>) -> Result<Terms, Error> {
        let pairs = self.gaps.len();
        let mut terms = device.room("terms", pairs)?;
        let (mut coefficients, mut sum) = (device.room("coefficients", 2 * pairs)?, device.room("a loss", 1)?);
        let known = Pairs { policy, reference: &self.reference, gaps: &self.gaps };
        margin::terms(device, [&mut terms, &mut coefficients, &mut sum], known, pairs, self.margin)?;
        Ok(Terms { sum, coefficients })
    }
}
