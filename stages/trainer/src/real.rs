//! The floating-point type of a computation: `f32` in use, `f64` where tests need the precision.

use std::fmt::Debug;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

use half::bf16;
use safetensors::Dtype;

/// `f32` or `f64`.
pub trait Real:
    Copy
    + Debug
    + Default
    + PartialEq
    + PartialOrd
    + Send
    + Sync
    + Sum
    + Add<Output = Self>
    + AddAssign
    + Sub<Output = Self>
    + SubAssign
    + Mul<Output = Self>
    + MulAssign
    + Div<Output = Self>
    + Neg<Output = Self>
    + 'static
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// Less than every other number.
    const NEG_INFINITY: Self;
    /// The type's name in safetensors.
    const DTYPE: Dtype;

    /// The nearest number of this type.
    fn from_f64(value: f64) -> Self;
    /// The same number.
    fn from_bf16(value: bf16) -> Self;
    /// The same number, in double precision.
    fn to_f64(self) -> f64;
    /// The square root.
    fn sqrt(self) -> Self;
    /// The exponential, written without branches so that loops over it vectorise.
    fn exp(self) -> Self;
    /// The greater of two numbers that are not NaN.
    fn greater(self, other: Self) -> Self;
    /// Appends its bytes, little-endian.
    fn write_le(self, bytes: &mut Vec<u8>);
    /// The number whose little-endian bytes these are; `None` for another count of bytes.
    fn from_le(bytes: &[u8]) -> Option<Self>;
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const NEG_INFINITY: Self = f32::NEG_INFINITY;
    const DTYPE: Dtype = Dtype::F32;

    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value as Self
    }

    #[inline(always)]
    fn from_bf16(value: bf16) -> Self {
        Self::from_bits(u32::from(value.to_bits()) << 16)
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }

    /// Relative error below 2e-7. exp(x) = 2ⁿ·exp(r) with n the nearest integer to x/ln 2 and |r| ≤ ln 2 / 2;
    /// exp(r) by the polynomial of Cephes' `expf`. Below -87 the result is flushed to 0, as it is for -inf.
    #[inline(always)]
    fn exp(self) -> Self {
        // Adding 1.5·2²³ rounds to the nearest integer, which then sits in the low bits.
        const ROUND: f32 = 12_582_912.0;
        const LN2_HIGH: f32 = 0.693_359_4;
        const LN2_LOW: f32 = -2.121_944_4e-4;
        let x = if self < 88.0 { self } else { 88.0 };
        let x = if x > -87.0 { x } else { -87.0 };
        let shifted = x * std::f32::consts::LOG2_E + ROUND;
        let n = shifted - ROUND;
        let r = x - n * LN2_HIGH - n * LN2_LOW;
        let mut p = 1.987_569_1e-4;
        p = p * r + 1.398_199_9e-3;
        p = p * r + 8.333_452e-3;
        p = p * r + 4.166_579_6e-2;
        p = p * r + 1.666_666_5e-1;
        p = p * r + 5e-1;
        let exp_r = p * (r * r) + r + 1.0;
        let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
        let y = exp_r * power;
        let y = if self > -87.0 { y } else { 0.0 };
        // NaN and +inf must not come out as ordinary numbers: a broken forward pass must be seen.
        if self < 88.0 { y } else { self + f32::INFINITY }
    }

    #[inline(always)]
    fn greater(self, other: Self) -> Self {
        if self > other { self } else { other }
    }

    fn write_le(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.to_le_bytes());
    }

    fn from_le(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_le_bytes)
    }
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const NEG_INFINITY: Self = f64::NEG_INFINITY;
    const DTYPE: Dtype = Dtype::F64;

    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value
    }

    #[inline(always)]
    fn from_bf16(value: bf16) -> Self {
        Self::from(f32::from_bf16(value))
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }

    #[inline(always)]
    fn exp(self) -> Self {
        f64::exp(self)
    }

    #[inline(always)]
    fn greater(self, other: Self) -> Self {
        if self > other { self } else { other }
    }

    fn write_le(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.to_le_bytes());
    }

    fn from_le(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_agrees_with_the_library() {
        let worst = (-8_600..8_790).map(|i| i as f32 * 0.01).map(|x| {
            let exact = f64::from(x).exp();
            (f64::from(Real::exp(x)) / exact - 1.0).abs()
        });
        assert!(worst.fold(0.0, f64::max) < 2e-7);
        for (x, expected) in [(f32::NEG_INFINITY, 0.0), (-1e30, 0.0), (0.0, 1.0), (f32::INFINITY, f32::INFINITY)] {
            assert_eq!(Real::exp(x), expected);
        }
        assert!(Real::exp(f32::NAN).is_nan());
    }
}
