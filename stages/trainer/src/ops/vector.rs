//! Loops over slices that the compiler vectorises for the machine they run on.

use crate::real::Real;

/// Accumulators of a reduction: wide enough for two AVX-512 registers of `f32`. The order of summation is
/// fixed by it, so the result does not depend on the machine's vector width.
const LANES: usize = 32;

/// Runs a loop compiled for the widest vector instructions that the machine has.
#[inline(always)]
pub(crate) fn vectorised<R>(body: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(body)
}

/// Σ aᵢ bᵢ. Call it inside [`vectorised`].
#[inline(always)]
pub(crate) fn dot<F: Real>(a: &[F], b: &[F]) -> F {
    let (a, a_tail) = a.as_chunks::<LANES>();
    let (b, b_tail) = b.as_chunks::<LANES>();
    let mut lanes = [F::ZERO; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    let tail: F = a_tail.iter().zip(b_tail).map(|(a, b)| *a * *b).sum();
    lanes.into_iter().sum::<F>() + tail
}

/// The greatest value; -∞ for none. Call it inside [`vectorised`].
#[inline(always)]
pub(crate) fn maximum<F: Real>(values: &[F]) -> F {
    let (chunks, tail) = values.as_chunks::<LANES>();
    let mut lanes = [F::NEG_INFINITY; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = chunk[lane].greater(lanes[lane]);
        }
    }
    lanes.iter().chain(tail).fold(F::NEG_INFINITY, |best, value| value.greater(best))
}

/// Replaces every v by exp(v - shift) and returns the sum. Call it inside [`vectorised`].
#[inline(always)]
pub(crate) fn exponentiate<F: Real>(values: &mut [F], shift: F) -> F {
    let (chunks, tail) = values.as_chunks_mut::<LANES>();
    let mut lanes = [F::ZERO; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            chunk[lane] = (chunk[lane] - shift).exp();
            lanes[lane] += chunk[lane];
        }
    }
    let mut sum = lanes.into_iter().sum::<F>();
    for value in tail {
        *value = (*value - shift).exp();
        sum += *value;
    }
    sum
}

/// y += x.
pub(crate) fn add<F: Real>(y: &mut [F], x: &[F]) {
    vectorised(|| y.iter_mut().zip(x).for_each(|(y, x)| *y += *x));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reductions_cover_the_tail() {
        let a: Vec<f64> = (0..75).map(f64::from).collect();
        assert_eq!(vectorised(|| dot(&a, &a)), a.iter().map(|v| v * v).sum::<f64>());
        assert_eq!(vectorised(|| maximum(&a)), 74.0);
        let mut b = a.clone();
        let sum = vectorised(|| exponentiate(&mut b, 70.0));
        let expected: f64 = a.iter().map(|v| (v - 70.0).exp()).sum();
        assert!((sum / expected - 1.0).abs() < 1e-12);
        assert_eq!(b[74], 4f64.exp());
    }
}
