//! What the kernels' tests share: machines to run on, numbers, and how far results may be off.

use std::sync::OnceLock;

use half::bf16;
use obvert_device::cuda::Cuda;
use obvert_device::simulation::{Order, Program};
use obvert_device::{Device, Stored};

/// Numbers that look random, uniform in ±1, and are the same everywhere.
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0) as f32
    }

    /// Numbers that `F` holds exactly, so that only what a kernel computes is rounded.
    pub fn stored<F: Stored>(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| F::narrow(self.next()).widen()).collect()
    }

    /// Whole numbers below a bound.
    pub fn below(&mut self, bound: usize) -> usize {
        (f64::from(self.next() + 1.0) * 0.499_999 * bound as f64) as usize
    }
}

/// What stands between rows, where kernels have nothing to write.
pub const GAP: f32 = 0.5;

/// Rows of `width` values laid `stride` apart.
pub fn spread<T: Copy + From<f32>>(values: &[T], width: usize, stride: usize) -> Vec<T> {
    let row = |row: &[T]| [row, &vec![GAP.into(); stride - width]].concat();
    values.chunks(width).flat_map(row).collect()
}

/// The same numbers in double precision.
pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

/// The exact program and the one that stores bfloat16; nothing where there is no C++ compiler.
pub fn programs() -> Option<&'static [Program; 2]> {
    static PROGRAMS: OnceLock<Option<[Program; 2]>> = OnceLock::new();
    let made = || Some(Program::both()?.unwrap_or_else(|error| panic!("{error}")));
    PROGRAMS.get_or_init(made).as_ref()
}

/// The orders in which threads take turns.
pub const ORDERS: [Order; 3] = [Order::Forward, Order::Backward, Order::Mixed];

/// The first GPU, where there is one.
pub fn gpu() -> Option<&'static Device<bf16>> {
    static GPU: OnceLock<Option<Device<bf16>>> = OnceLock::new();
    let start = || (Cuda::count() > 0).then(|| Cuda::start(0).unwrap_or_else(|error| panic!("{error}")));
    GPU.get_or_init(start).as_ref()
}

/// Runs a check, generic over what is stored, on a GPU, and on the simulation: exact and rounded, in every order of threads.
macro_rules! on_every_machine {
    ($test:literal, $check:ident) => {
        match $crate::common::gpu() {
            Some(device) => $check(device).unwrap_or_else(|error| panic!("on a GPU: {error}")),
            None => eprintln!("SKIPPED: {} on a GPU: there is none", $test),
        }
        let Some([exact, rounded]) = $crate::common::programs() else {
            eprintln!("SKIPPED: {} in the simulation: no C++ compiler", $test);
            return;
        };
        for order in $crate::common::ORDERS {
            let failed = |error| panic!("{order:?}: {error}");
            $check(&exact.start::<f32>(order).unwrap()).unwrap_or_else(failed);
            $check(&rounded.start::<half::bf16>(order).unwrap()).unwrap_or_else(failed);
        }
    };
}
pub(crate) use on_every_machine;

/// By how much rounding to `F` changes a number at most, as a part of it.
pub fn unit<F: Stored>() -> f64 {
    if size_of::<F>() == 2 { 2.0_f64.powi(-8) } else { 0.0 }
}

/// Compares with an exact reference: to 1e-5 of the largest value where nothing is rounded, else to twice the error that
/// rounding the reference itself makes, as FlashAttention's tests do.
pub fn assert_close<F: Stored>(what: &str, found: &[F], expected: &[f64]) {
    assert_within(what, found, expected, &vec![0.0; expected.len()]);
}

/// As [`assert_close`], with more for each value: what a kernel that rounds in between may be off.
pub fn assert_within<F: Stored>(what: &str, found: &[F], expected: &[f64], more: &[f64]) {
    assert_eq!([found.len(), more.len()], [expected.len(); 2], "{what}");
    let largest = expected.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    let rounding = |value: &f64| (f64::from(F::narrow(*value as f32).widen()) - value).abs();
    let rounded = expected.iter().map(rounding).fold(0.0, f64::max);
    for (at, ((found, expected), more)) in found.iter().zip(expected).zip(more).enumerate() {
        let (found, tolerance) = (f64::from(found.widen()), 2.0 * rounded + 1e-5 * largest + 1e-7 + more);
        assert!(
            (found - expected).abs() <= tolerance,
            "{what}: value {at} is {found}, expected {expected} ± {tolerance:e}"
        );
    }
}
