//! Timing: how long a launch takes, and which share of what the machine can do that is.

use std::cell::Cell;
use std::fmt::Write as _;
use std::time::Instant;

use half::bf16;
use obvert_device::ops::adamw::{self, PARTIALS, Step};
use obvert_device::ops::{embed, swiglu};
use obvert_device::{Array, Device, Error};

use crate::products::square;
use crate::sizes::Sizes;

/// Repetitions that the median is of, and seconds that each lasts: many launches, so that waiting for them costs nothing.
const REPETITIONS: usize = 7;
const SECONDS: f64 = 0.02;
const MOST_LAUNCHES: f64 = 200.0;
/// Random values that arrays are filled with, again and again: a prime number, so that rows differ.
const BLOCK: usize = 1_000_003;

pub const REAL: usize = size_of::<bf16>();
pub const FLOAT: usize = size_of::<f32>();
pub const STEP: Step = Step { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, learning_rate: 1e-4, number: 10 };

/// A machine, the sizes of what runs on it, and how fast it can be.
pub struct Bench {
    pub device: Device<bf16>,
    pub sizes: Sizes,
    /// Uniform in ±1.
    block: Vec<f32>,
    /// To wait for.
    one: Array<f32>,
    /// Whether everything runs just once.
    once: bool,
    /// Bytes and operations a second.
    ceilings: [f64; 2],
    failed: Cell<bool>,
}

/// What a launch does at least.
#[derive(Clone, Copy, Default)]
pub struct Work {
    /// Bytes read and written, each once.
    pub bytes: usize,
    /// Floating-point operations.
    pub flops: usize,
}

impl Bench {
    pub fn new(device: Device<bf16>, sizes: Sizes, once: bool) -> Result<Self, Error> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut draw = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
        };
        let block = (0..BLOCK).map(|_| draw()).collect();
        let one = device.copy("a value", &[1.0])?;
        Ok(Self { device, sizes, block, one, once, ceilings: [f64::INFINITY; 2], failed: Cell::new(false) })
    }

    /// Random values, each made of one that is uniform in ±1.
    fn values<T: bytemuck::Pod>(&self, len: usize, make: impl Fn(f32) -> T) -> Result<Array<T>, Error> {
        let block: Vec<T> = self.block.iter().take(len).map(|value| make(*value)).collect();
        let mut array = self.device.room("random values", len)?;
        for first in (0..len).step_by(BLOCK) {
            array.write(first, &block[..block.len().min(len - first)])?;
        }
        Ok(array)
    }

    pub fn reals(&self, len: usize) -> Result<Array<bf16>, Error> {
        self.values(len, bf16::from_f32)
    }

    pub fn floats(&self, len: usize) -> Result<Array<f32>, Error> {
        self.values(len, |value| value)
    }

    pub fn bytes(&self, len: usize) -> Result<Array<u8>, Error> {
        self.values(len, |value| (127.0 * value) as i8 as u8)
    }

    pub fn indices(&self, len: usize, below: usize) -> Result<Array<i32>, Error> {
        self.values(len, |value| ((value + 1.0) * 0.499 * below as f32) as i32)
    }

    /// Seconds of a launch.
    fn seconds(&self, mut launch: impl FnMut() -> Result<(), Error>) -> Result<f64, Error> {
        let mut time = |launches: usize| {
            let start = Instant::now();
            (0..launches).try_for_each(|_| launch())?;
            self.one.read()?;
            Ok(start.elapsed().as_secs_f64() / launches as f64)
        };
        if self.once {
            return time(1);
        }
        time(2)?;
        let launches = (SECONDS / time(1)?).ceil().clamp(1.0, MOST_LAUNCHES) as usize;
        let mut times = (0..REPETITIONS).map(|_| time(launches)).collect::<Result<Vec<_>, _>>()?;
        times.sort_by(f64::total_cmp);
        Ok(times[REPETITIONS / 2])
    }

    /// Prints how long a launch takes. Its ceiling is that of memory or of products, whichever it meets first.
    pub fn time(&self, kernel: &str, shape: &[usize], work: Work, launch: impl FnMut() -> Result<(), Error>) {
        let seconds = match self.seconds(launch) {
            Ok(seconds) => seconds,
            Err(error) => return self.fail(kernel, &error),
        };
        let [memory, products] = [work.bytes as f64 / self.ceilings[0], work.flops as f64 / self.ceilings[1]];
        let rate = if products > memory {
            format!(r#""tflop_per_s": {:.1}"#, work.flops as f64 / seconds / 1e12)
        } else {
            format!(r#""gb_per_s": {:.1}"#, work.bytes as f64 / seconds / 1e9)
        };
        let (shape, milliseconds, share) = (words(shape), 1e3 * seconds, memory.max(products) / seconds);
        println!(
            r#"{{"kernel": "{kernel}", "shape": "{shape}", "milliseconds": {milliseconds:.4}, {rate}, "share_of_ceiling": {share:.3}}}"#
        );
    }

    /// Prints what went wrong.
    pub fn fail(&self, kernel: &str, error: &Error) {
        self.failed.set(true);
        println!(r#"{{"kernel": "{kernel}", "error": {:?}}}"#, error.to_string());
    }

    pub fn has_failed(&self) -> bool {
        self.failed.get()
    }

    /// Prints what the machine can do: of memory, the best of three kernels that only stream; of products, a large square one.
    pub fn measure_ceilings(&mut self) -> Result<(), Error> {
        let mut best = 0.0_f64;
        for (by, bytes, seconds) in [self.copy()?, self.gate()?, self.update()?] {
            let rate = bytes as f64 / seconds;
            println!(r#"{{"ceiling": "memory", "by": "{by}", "gb_per_s": {:.1}}}"#, rate / 1e9);
            best = best.max(rate);
        }
        let size = self.sizes.product;
        let rate = 2.0 * (size as f64).powi(3) / square(self, size, |launch| self.seconds(launch))?;
        println!(r#"{{"ceiling": "products", "by": "{size} x {size} x {size}", "tflop_per_s": {:.1}}}"#, rate / 1e12);
        self.ceilings = [best, rate];
        Ok(())
    }

    /// Rows copied in their order.
    fn copy(&self) -> Result<(&'static str, usize, f64), Error> {
        let (rows, width) = (self.sizes.streamed, self.sizes.hidden);
        let (from, mut to) = (self.reals(rows * width)?, self.device.room("a copy", rows * width)?);
        let order = self.device.copy("order", &(0..rows as i32).collect::<Vec<_>>())?;
        let seconds = self.seconds(|| embed::gather(&self.device, &mut to, (&from, width), &order, [rows, width]))?;
        Ok(("gather_rows in order", 2 * REAL * rows * width, seconds))
    }

    fn gate(&self) -> Result<(&'static str, usize, f64), Error> {
        let (rows, f) = (self.sizes.streamed, self.sizes.ffn);
        let (from, mut to) = (self.reals(rows * 2 * f)?, self.device.room("h", rows * f)?);
        let seconds = self.seconds(|| swiglu::forward(&self.device, (&mut to, f), (&from, 2 * f), [rows, f]))?;
        Ok(("swiglu_forward", 3 * REAL * rows * f, seconds))
    }

    fn update(&self) -> Result<(&'static str, usize, f64), Error> {
        let n = self.sizes.streamed * self.sizes.hidden;
        let (gradient, mut state) = (self.floats(n)?, [self.floats(n)?, self.floats(n)?, self.device.zeros("v", n)?]);
        let (mut clip, mut partial) = (self.device.room("clip", 2)?, self.device.room("partial", PARTIALS)?);
        adamw::clip(&self.device, &mut clip, &mut partial, &gradient, 1.0)?;
        let seconds = self.seconds(|| adamw::update(&self.device, state.each_mut(), &gradient, &clip, STEP))?;
        Ok(("adamw", 7 * FLOAT * n, seconds))
    }
}

impl Work {
    /// Reads and writes.
    pub fn bytes(bytes: usize) -> Self {
        Self { bytes, flops: 0 }
    }
}

fn words(shape: &[usize]) -> String {
    let mut text = String::new();
    for (at, size) in shape.iter().enumerate() {
        let _ = write!(text, "{}{size}", if at == 0 { "" } else { " x " });
    }
    text
}
