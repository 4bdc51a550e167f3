//! How far a figure may be trusted: percentiles of what it is over samples drawn with replacement (Efron 1979).

use serde::Serialize;

/// Samples that are drawn: as many as Multi-IF's scorer draws.
const DRAWS: usize = 10_000;
/// The same draws in every run.
const SEED: u64 = 20_221_172;

/// A share with the bounds of its 95 % confidence interval, all 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Estimate {
    /// The share.
    pub value: f64,
    /// Of 1,000 samples 25 have less.
    pub low: f64,
    /// Of 1,000 samples 25 have more.
    pub high: f64,
}

/// Parts and wholes, unit by unit: units are what is drawn, such as dialogues, since what is within one is not independent.
pub(crate) fn estimates<const N: usize>(units: &[[(f64, f64); N]]) -> [Estimate; N] {
    estimates_of(units, |sums| sums.map(share))
}

/// The same of figures that are more than one share: they are made anew of each sample's sums.
pub(crate) fn estimates_of<const N: usize, const M: usize>(
    units: &[[(f64, f64); N]],
    figures: impl Fn([(f64, f64); N]) -> [f64; M],
) -> [Estimate; M] {
    let mut drawn: [Vec<f64>; M] = std::array::from_fn(|_| Vec::with_capacity(DRAWS));
    let mut random = SEED;
    for _ in 0..DRAWS {
        let sample = (0..units.len()).filter_map(|_| units.get(below(units.len(), &mut random)));
        for (figure, drawn) in figures(sums(sample)).into_iter().zip(&mut drawn) {
            drawn.push(figure);
        }
    }
    let values = figures(sums(units.iter()));
    std::array::from_fn(|at| {
        drawn[at].sort_by(f64::total_cmp);
        let percentile = |share: f64| drawn[at].get((share * DRAWS as f64) as usize).copied().unwrap_or_default();
        Estimate { value: values[at], low: percentile(0.025), high: percentile(0.975) }
    })
}

fn sums<'u, const N: usize>(units: impl Iterator<Item = &'u [(f64, f64); N]>) -> [(f64, f64); N] {
    let mut sums = [(0.0, 0.0); N];
    for unit in units {
        for ((part, whole), (more, all)) in sums.iter_mut().zip(unit) {
            (*part, *whole) = (*part + more, *whole + all);
        }
    }
    sums
}

/// A part of its whole; 0 of nothing.
pub(crate) fn share((part, whole): (f64, f64)) -> f64 {
    if whole == 0.0 { 0.0 } else { part / whole }
}

/// The next number below a bound, by splitmix64.
fn below(bound: usize, state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((u128::from(z ^ (z >> 31)) * bound as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a share p of n independent units the interval is p ± 1.96 √(p(1−p)/n).
    #[test]
    fn the_interval_of_a_share_is_the_known_one() {
        let units: Vec<[(f64, f64); 1]> = (0..1000).map(|n| [(f64::from(u8::from(n % 10 < 3)), 1.0)]).collect();
        let [Estimate { value, low, high }] = estimates(&units);
        let half = 1.96 * (0.3_f64 * 0.7 / 1000.0).sqrt();
        assert_eq!(value, 0.3);
        assert!((low - (0.3 - half)).abs() < 0.004 && (high - (0.3 + half)).abs() < 0.004, "{low} {high}");
        assert_eq!(estimates::<1>(&[]), [Estimate::default()]);
    }
}
