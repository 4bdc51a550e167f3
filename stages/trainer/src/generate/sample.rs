//! Drawing a token from logits.

use super::Sampling;

/// One sequence's random numbers: splitmix64 (Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub(super) struct Draws(u64);

impl Draws {
    pub(super) fn new(seed: u64) -> Self {
        Draws(seed)
    }

    /// Uniform in [0, 1), with 53 bits.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The next token.
    pub(super) fn token(&mut self, logits: &[f32], sampling: &Sampling) -> u32 {
        if sampling.temperature <= 0.0 {
            return likeliest(logits);
        }
        let probabilities = softmax(logits, sampling.temperature);
        let draw = self.uniform();
        if sampling.top_p < 1.0 {
            nucleus(&probabilities, sampling.top_p, draw)
        } else {
            pick(&probabilities, draw)
        }
    }
}

fn likeliest(logits: &[f32]) -> u32 {
    let best = logits
        .iter()
        .enumerate()
        .fold((0, f32::NEG_INFINITY), |best, (index, logit)| {
            if *logit > best.1 {
                (index, *logit)
            } else {
                best
            }
        });
    best.0 as u32
}

fn softmax(logits: &[f32], temperature: f32) -> Vec<f64> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = logits
        .iter()
        .map(|l| f64::from((l - highest) / temperature).exp())
        .collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|w| w / total).collect()
}

/// The token in whose share of [0, 1) the draw falls.
fn pick(probabilities: &[f64], draw: f64) -> u32 {
    let mut reached = 0.0;
    let found = probabilities.iter().position(|p| {
        reached += p;
        draw < reached
    });
    // Rounding may leave a gap at the very end.
    found.unwrap_or(probabilities.len().saturating_sub(1)) as u32
}

/// `pick` among the likeliest tokens that together reach `top_p`.
fn nucleus(probabilities: &[f64], top_p: f32, draw: f64) -> u32 {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|a, b| {
        probabilities[*b]
            .total_cmp(&probabilities[*a])
            .then(a.cmp(b))
    });
    let mut reached = 0.0;
    let enough = order.iter().position(|token| {
        reached += probabilities[*token];
        reached >= f64::from(top_p)
    });
    order.truncate(enough.map_or(order.len(), |last| last + 1));
    let kept: Vec<f64> = order.iter().map(|token| probabilities[*token]).collect();
    order[pick(&kept, draw * kept.iter().sum::<f64>()) as usize] as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_probabilities_and_the_seed() {
        let logits = [1.0f32.ln(), 2.0f32.ln(), 7.0f32.ln()];
        let sampling = Sampling {
            temperature: 1.0,
            top_p: 1.0,
            max_tokens: 1,
            seed: 0,
        };
        let mut counts = [0; 3];
        let mut draws = Draws::new(7);
        (0..10_000).for_each(|_| counts[draws.token(&logits, &sampling) as usize] += 1);
        assert!(
            (900..1100).contains(&counts[0]) && (1880..2120).contains(&counts[1]),
            "{counts:?}"
        );
        let narrow = Sampling {
            top_p: 0.6,
            ..sampling
        };
        assert!((0..100).all(|_| draws.token(&logits, &narrow) == 2));
        assert_eq!(
            draws.token(
                &logits,
                &Sampling {
                    temperature: 0.0,
                    ..sampling
                }
            ),
            2
        );
    }
}
