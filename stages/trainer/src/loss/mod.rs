//! Losses over preference pairs: one file each.

mod dpo;
mod rpo;

use std::fmt::Debug;

pub use dpo::Dpo;
pub use rpo::{Margin, Rpo};

/// Summed log-probs of one pair's responses under the policy and under the reference, in nats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairLogps {
    /// The chosen response under the policy.
    pub chosen: f64,
    /// The rejected response under the policy.
    pub rejected: f64,
    /// The chosen response under the reference.
    pub reference_chosen: f64,
    /// The rejected response under the reference.
    pub reference_rejected: f64,
    /// The pair's difference g: active constraints whose verdicts differ.
    pub gap: f64,
}

impl PairLogps {
    /// D = a − b, a and b the policy-to-reference log-ratios of chosen and rejected.
    pub fn log_ratio_difference(&self) -> f64 {
        (self.chosen - self.reference_chosen) - (self.rejected - self.reference_rejected)
    }
}

/// A pair's loss and its derivatives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairLoss {
    /// L.
    pub loss: f64,
    /// ∂L/∂log p of the chosen response.
    pub d_chosen: f64,
    /// ∂L/∂log p of the rejected response.
    pub d_rejected: f64,
}

impl PairLoss {
    /// A loss that depends on the pair only through D.
    fn of_difference(loss: f64, derivative: f64) -> Self {
        Self { loss, d_chosen: derivative, d_rejected: -derivative }
    }
}

/// A loss over preference pairs.
///
/// **Contract**: a pure function, finite for finite input, and `d_chosen` and `d_rejected` are its exact
/// derivatives with respect to the policy's two log-probs.
pub trait PreferenceLoss: Debug + Send + Sync {
    /// The loss of one pair. A batch's loss is the mean over its pairs.
    fn pair(&self, logps: &PairLogps) -> PairLoss;
}

/// −log σ(x), without overflow.
fn neg_log_sigmoid(x: f64) -> f64 {
    (-x).max(0.0) + (-x.abs()).exp().ln_1p()
}

/// σ(x) = 1/(1 + e^−x), without overflow.
fn sigmoid(x: f64) -> f64 {
    let small = (-x.abs()).exp();
    if x >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(loss: &dyn PreferenceLoss) {
        for (chosen, rejected) in [(-10.0, -12.0), (-300.0, -2.0), (-1.0, -90.0)] {
            let at = |chosen, rejected| PairLogps {
                chosen,
                rejected,
                reference_chosen: -11.0,
                reference_rejected: -9.0,
                gap: 3.0,
            };
            let step = 1e-5;
            let slope =
                |plus: PairLogps, minus: PairLogps| (loss.pair(&plus).loss - loss.pair(&minus).loss) / (2.0 * step);
            let exact = loss.pair(&at(chosen, rejected));
            let d_chosen = slope(at(chosen + step, rejected), at(chosen - step, rejected));
            let d_rejected = slope(at(chosen, rejected + step), at(chosen, rejected - step));
            assert!((exact.d_chosen - d_chosen).abs() < 1e-8, "{loss:?}: {exact:?}, {d_chosen}");
            assert!((exact.d_rejected - d_rejected).abs() < 1e-8, "{loss:?}: {exact:?}, {d_rejected}");
        }
    }

    #[test]
    fn derivatives_agree_with_differences() {
        check(&Dpo { beta: 0.1, label_smoothing: 0.0 });
        check(&Dpo { beta: 0.3, label_smoothing: 0.2 });
        check(&Rpo { beta: 0.1, gamma: 0.05, margin: Margin::Paper });
        check(&Rpo { beta: 0.1, gamma: 0.05, margin: Margin::ReferenceCode });
    }

    #[test]
    fn conventions_differ_by_beta_and_no_margin_is_dpo() {
        let logps =
            PairLogps { chosen: -5.0, rejected: -7.0, reference_chosen: -6.0, reference_rejected: -6.5, gap: 4.0 };
        // D = 1 + 0.5
        let expected = |x: f64| (1.0 + (-x).exp()).ln();
        let rpo = |gamma, margin| Rpo { beta: 0.1, gamma, margin }.pair(&logps);
        assert!((rpo(0.05, Margin::Paper).loss - expected(0.15 - 0.2)).abs() < 1e-15);
        assert!((rpo(0.05, Margin::ReferenceCode).loss - expected(0.15 - 0.02)).abs() < 1e-15);
        assert_eq!(rpo(0.0, Margin::Paper), Dpo { beta: 0.1, label_smoothing: 0.0 }.pair(&logps));
    }
}
