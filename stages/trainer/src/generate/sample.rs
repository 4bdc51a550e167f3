//! Drawing a token from logits.

use super::Sampling;
use crate::ops::vector::{exponentiate, maximum, vectorised};

/// Below this a temperature acts as 0: logits divided by it would leave the range of numbers.
const COLDEST: f32 = 1e-6;

/// One sequence's settings and random numbers.
pub(super) struct Sampler {
    temperature: f32,
    top_p: f32,
    state: u64,
}

impl Sampler {
    pub(super) fn new(sampling: &Sampling) -> Self {
        Self { temperature: sampling.temperature, top_p: sampling.top_p, state: sampling.seed }
    }

    /// A token; `None` where the logits have no finite maximum.
    pub(super) fn draw(&mut self, logits: &[f32]) -> Option<u32> {
        if logits.iter().any(|logit| logit.is_nan()) {
            return None;
        }
        let greatest = vectorised(
            #[inline(always)]
            || maximum(logits),
        );
        if !greatest.is_finite() {
            return None;
        }
        let place = if self.temperature < COLDEST {
            logits.iter().position(|logit| *logit == greatest)
        } else {
            Some(self.sample(logits, greatest))
        };
        place.and_then(|place| u32::try_from(place).ok())
    }

    fn sample(&mut self, logits: &[f32], greatest: f32) -> usize {
        let inverse = 1.0 / self.temperature;
        let mut weights: Vec<f32> = logits.iter().map(|logit| (logit - greatest) * inverse).collect();
        let total = vectorised(
            #[inline(always)]
            || exponentiate(&mut weights, 0.0),
        );
        let unit = self.unit();
        if self.top_p < 1.0 {
            let likely = nucleus(&weights, total, self.top_p);
            pick(likely.into_iter(), unit)
        } else {
            pick(weights.into_iter().enumerate(), unit)
        }
    }

    /// Uniform in [0, 1), by Steele, Lea and Flood's SplitMix64 (OOPSLA 2014).
    fn unit(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The fewest likeliest tokens that together hold `top_p` of the weight (arXiv 1904.09751), likeliest first.
fn nucleus(weights: &[f32], total: f32, top_p: f32) -> Vec<(usize, f32)> {
    // All tokens below this hold less than 1 - top_p together, so none of them is needed; it spares sorting most of them.
    let floor = (1.0 - top_p) * total / weights.len() as f32;
    let mut likely: Vec<(usize, f32)> =
        weights.iter().copied().enumerate().filter(|(_, weight)| *weight >= floor).collect();
    likely.sort_by(|(i, a), (j, b)| b.total_cmp(a).then(i.cmp(j)));
    let enough = f64::from(top_p) * f64::from(total);
    let mut held = 0.0;
    let needed = likely.iter().position(|(_, weight)| {
        held += f64::from(*weight);
        held >= enough
    });
    likely.truncate(needed.map_or(likely.len(), |last| last + 1));
    likely
}

/// The place at which the running sum of weights passes `unit` of the whole.
fn pick(weights: impl Iterator<Item = (usize, f32)> + Clone, unit: f64) -> usize {
    let total: f64 = weights.clone().map(|(_, weight)| f64::from(weight)).sum();
    let mut left = unit * total;
    let mut last = 0;
    for (place, weight) in weights.filter(|(_, weight)| *weight > 0.0) {
        last = place;
        left -= f64::from(weight);
        if left < 0.0 {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(temperature: f32, top_p: f32, seed: u64) -> Sampler {
        Sampler { temperature, top_p, state: seed }
    }

    #[test]
    fn the_nucleus_is_the_fewest_tokens_that_suffice() {
        let weights = [0.1, 0.4, 0.05, 0.3, 0.15];
        for (top_p, expected) in [(0.1, vec![1]), (0.45, vec![1, 3]), (0.69, vec![1, 3]), (0.9, vec![1, 3, 4, 0])] {
            let places: Vec<usize> = nucleus(&weights, 1.0, top_p).into_iter().map(|(place, _)| place).collect();
            assert_eq!(places, expected, "{top_p}");
        }
    }

    #[test]
    fn draws_follow_the_softmax() {
        // Probabilities at temperature 2: 0.5, 0.25, 0.25.
        let logits = [2.0 * 4_f32.ln(), 2.0 * 2_f32.ln(), 2.0 * 2_f32.ln(), f32::NEG_INFINITY];
        let mut sampler = sampler(2.0, 1.0, 5);
        let mut counts = [0_usize; 4];
        for _ in 0..40_000 {
            counts[sampler.draw(&logits).unwrap() as usize] += 1;
        }
        for (count, expected) in counts.into_iter().zip([20_000, 10_000, 10_000, 0]) {
            assert!(count.abs_diff(expected) < 400, "{counts:?}");
        }
    }

    #[test]
    fn greedy_takes_the_first_of_equals_and_nonsense_is_refused() {
        assert_eq!(sampler(0.0, 1.0, 0).draw(&[1.0, 3.0, 3.0]), Some(1));
        for logits in [[f32::NAN, 1.0], [f32::INFINITY, 1.0], [f32::NEG_INFINITY; 2]] {
            assert_eq!(sampler(1.0, 0.9, 0).draw(&logits), None);
        }
    }

    #[test]
    fn hardly_any_temperature_is_none() {
        for temperature in [1e-7, 1e-30, 1e-45] {
            assert_eq!(sampler(temperature, 1.0, 1).draw(&[1.0, 3.0, 3.0, -1e30]), Some(1), "{temperature}");
        }
    }
}
