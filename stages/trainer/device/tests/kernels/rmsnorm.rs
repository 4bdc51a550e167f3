//! RMSNorm against its formula.

use crate::common::{GAP, Numbers, assert_close, on_every_machine, spread, wide};
use obvert_device::ops::rmsnorm;
use obvert_device::{Device, Error, Stored};

const EPS: f32 = 1e-5;

/// Rows, n, and the stride of y, delta and dy: one value at a time, eight at once, and rows too long for a block's registers.
const SHAPES: [(usize, usize, usize); 7] =
    [(1, 1, 1), (3, 33, 34), (2, 24, 25), (2, 576, 584), (5, 257, 260), (3, 64, 64), (1, 8200, 8208)];

fn inverse_rms(x: &[f64]) -> f64 {
    1.0 / (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + f64::from(EPS)).sqrt()
}

/// y, row by row.
fn normed(x: &[f32], gain: &[f32]) -> Vec<f64> {
    let row = |x: &[f64]| {
        let r = inverse_rms(x);
        x.iter().zip(gain).map(|(x, g)| f64::from(*g) * x * r).collect::<Vec<_>>()
    };
    wide(x).chunks(gain.len()).flat_map(row).collect()
}

#[test]
fn forward_and_backward_are_those_of_the_formula() {
    on_every_machine!("forward_and_backward_are_those_of_the_formula", check);
}

fn check<F: Stored>(device: &Device<F>) -> Result<(), Error> {
    for (rows, n, stride) in SHAPES {
        let mut numbers = Numbers::new(n as u64);
        let [x, dy, before] = [(); 3].map(|()| numbers.stored::<F>(rows * n));
        let gain = numbers.stored::<F>(n);
        let (x_there, gain_there) = (device.store("x", &x)?, device.store("gain", &gain)?);
        let mut y = device.store("y", &vec![GAP; rows * stride])?;
        rmsnorm::forward(device, (&mut y, stride), [&x_there, &gain_there], rows, EPS)?;
        let dy_there = device.store("dy", &spread(&dy, n, stride))?;
        let mut dx = device.store("dx", &before)?;
        rmsnorm::backward(device, &mut dx, (&dy_there, stride), [&x_there, &gain_there], rows, EPS)?;
        let mut expected_dx = wide(&before);
        for ((dx, x), dy) in expected_dx.chunks_mut(n).zip(wide(&x).chunks(n)).zip(wide(&dy).chunks(n)) {
            let r = inverse_rms(x);
            let w: Vec<f64> = gain.iter().zip(dy).map(|(g, dy)| f64::from(*g) * dy).collect();
            let along = w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() / n as f64;
            (0..n).for_each(|i| dx[i] += r * w[i] - x[i] * r.powi(3) * along);
        }
        assert_close(&format!("y of {rows} x {n}"), &y.read()?, &spread(&normed(&x, &gain), n, stride));
        assert_close(&format!("dx of {rows} x {n}"), &dx.read()?, &expected_dx);
    }
    Ok(())
}

#[test]
fn a_sum_is_normed_as_it_is_stored() {
    on_every_machine!("a_sum_is_normed_as_it_is_stored", check_sum);
}

fn check_sum<F: Stored>(device: &Device<F>) -> Result<(), Error> {
    for (rows, n, stride) in SHAPES {
        let mut numbers = Numbers::new(n as u64);
        let [x, delta] = [(); 2].map(|()| numbers.stored::<F>(rows * n));
        let gain = numbers.stored::<F>(n);
        let (x_there, gain_there) = (device.store("x", &x)?, device.store("gain", &gain)?);
        let delta_there = device.store("delta", &spread(&delta, n, stride))?;
        let (mut sum, mut y) = (device.room("sum", rows * n)?, device.store("y", &vec![GAP; rows * stride])?);
        let inputs = [&x_there, &gain_there];
        rmsnorm::add_forward(device, &mut sum, (&mut y, stride), (&delta_there, stride), inputs, rows, EPS)?;
        let stored: Vec<f32> = x.iter().zip(&delta).map(|(x, delta)| F::narrow(x + delta).widen()).collect();
        assert_eq!(sum.read()?.into_iter().map(F::widen).collect::<Vec<_>>(), stored, "sum of {rows} x {n}");
        let mut again = device.store("y", &vec![GAP; rows * stride])?;
        rmsnorm::forward(device, (&mut again, stride), [&sum, &gain_there], rows, EPS)?;
        let [y, again] = [y.read()?, again.read()?];
        assert_close(&format!("y of {rows} x {n}"), &y, &spread(&normed(&stored, &gain), n, stride));
        assert_eq!(bytemuck::cast_slice::<F, u8>(&y), bytemuck::cast_slice::<F, u8>(&again), "{rows} x {n}");
    }
    Ok(())
}
