//! Loops over slices that the compiler vectorises for the machine they run on.

use crate::real::Real;

/// Accumulators of a reduction: wide enough for two AVX-512 registers of `f32`. The order of summation is
/// fixed by it, so the result does not depend on the machine's vector width.
const LANES: usize = 32;

/// Runs a loop compiled for the widest vector instructions that the machine has. Only what is inlined into `body` is
/// compiled so: give a closure that is `#[inline(always)]`, and `for` loops rather than closures in it.
#[inline(always)]
pub(crate) fn vectorised<R>(body: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(body)
}

/// One value of all accumulators: the halves are joined until one is left. Call it inside [`vectorised`].
#[inline(always)]
fn join<F: Real>(mut lanes: [F; LANES], both: impl Fn(F, F) -> F) -> F {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] = both(lanes[lane], lanes[lane + half]);
        }
        half /= 2;
    }
    lanes[0]
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
    let mut tail = F::ZERO;
    for (a, b) in a_tail.iter().zip(b_tail) {
        tail += *a * *b;
    }
    join(lanes, |a, b| a + b) + tail
}

/// Σ aᵢ bᵢ cᵢ, for slices of one length. Call it inside [`vectorised`].
#[inline(always)]
pub(crate) fn dot3<F: Real>(a: &[F], b: &[F], c: &[F]) -> F {
    let ((a, a_tail), (b, b_tail), (c, c_tail)) =
        (a.as_chunks::<LANES>(), b.as_chunks::<LANES>(), c.as_chunks::<LANES>());
    let mut lanes = [F::ZERO; LANES];
    for ((a, b), c) in a.iter().zip(b).zip(c) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane] * c[lane];
        }
    }
    let mut tail = F::ZERO;
    for ((a, b), c) in a_tail.iter().zip(b_tail).zip(c_tail) {
        tail += *a * *b * *c;
    }
    join(lanes, |a, b| a + b) + tail
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
    tail.iter().fold(join(lanes, F::greater), |best, value| value.greater(best))
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
    let mut sum = join(lanes, |a, b| a + b);
    for value in tail {
        *value = (*value - shift).exp();
        sum += *value;
    }
    sum
}

/// y += Σᵢ pᵢ rowᵢ, over rows of the length of y. Call it inside [`vectorised`].
#[inline(always)]
pub(crate) fn add_weighted<F: Real>(y: &mut [F], p: &[F], rows: &[F]) {
    let d = y.len();
    let (chunks, tail) = y.as_chunks_mut::<LANES>();
    for (index, chunk) in chunks.iter_mut().enumerate() {
        let mut lanes = *chunk;
        for (p, row) in p.iter().zip(rows.chunks_exact(d)) {
            let row = &row[index * LANES..][..LANES];
            for lane in 0..LANES {
                lanes[lane] += *p * row[lane];
            }
        }
        *chunk = lanes;
    }
    for (p, row) in p.iter().zip(rows.chunks_exact(d)) {
        for (y, x) in tail.iter_mut().zip(&row[d - d % LANES..]) {
            *y += *p * *x;
        }
    }
}

/// x *= factor. Call it inside [`vectorised`].
#[inline(always)]
pub(crate) fn multiply_by<F: Real>(x: &mut [F], factor: F) {
    for value in x {
        *value *= factor;
    }
}

/// y += x.
pub(crate) fn add<F: Real>(y: &mut [F], x: &[F]) {
    vectorised(
        #[inline(always)]
        || {
            for (y, x) in y.iter_mut().zip(x) {
                *y += *x;
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reductions_cover_the_tail() {
        let a: Vec<f64> = (0..75).map(f64::from).collect();
        assert_eq!(
            vectorised(
                #[inline(always)]
                || dot(&a, &a)
            ),
            a.iter().map(|v| v * v).sum::<f64>()
        );
        assert_eq!(
            vectorised(
                #[inline(always)]
                || maximum(&a)
            ),
            74.0
        );
        let mut b = a.clone();
        let sum = vectorised(
            #[inline(always)]
            || exponentiate(&mut b, 70.0),
        );
        let expected: f64 = a.iter().map(|v| (v - 70.0).exp()).sum();
        assert!((sum / expected - 1.0).abs() < 1e-12);
        assert_eq!(b[74], 4f64.exp());
        let mut c = [1.0; 75];
        vectorised(
            #[inline(always)]
            || add_weighted(&mut c, &[2.0, 3.0], &[a.clone(), a.clone()].concat()),
        );
        assert!(c.iter().zip(&a).all(|(c, a)| *c == 1.0 + 5.0 * a));
    }
}
