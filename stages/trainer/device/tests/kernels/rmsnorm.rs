//! RMSNorm against its formula.

use crate::common::{Numbers, assert_close, on_every_machine};
use obvert_device::ops::rmsnorm;
use obvert_device::{Array, Device, Error, Stored};

const EPS: f32 = 1e-5;

fn inverse_rms(x: &[f64]) -> f64 {
    1.0 / (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + f64::from(EPS)).sqrt()
}

#[test]
fn forward_and_backward_are_those_of_the_formula() {
    on_every_machine!("forward_and_backward_are_those_of_the_formula", check);
}

fn check<F: Stored>(device: &Device<F>) -> Result<(), Error> {
    for (rows, n) in [(1, 1), (3, 33), (2, 576), (5, 257)] {
        let mut numbers = Numbers::new(n as u64);
        let [x, dy, before] = [(); 3].map(|()| numbers.stored::<F>(rows * n));
        let gain = numbers.stored::<F>(n);
        let mut y: Array<F> = device.room("y", rows * n)?;
        let [x_there, dy_there, gain_there] = [&x, &dy, &gain].map(|values| device.store("input", values));
        let (x_there, gain_there) = (x_there?, gain_there?);
        rmsnorm::forward(device, &mut y, &x_there, &gain_there, EPS)?;
        let mut dx = device.store("dx", &before)?;
        rmsnorm::backward(device, &mut dx, [&dy_there?, &x_there, &gain_there], EPS)?;
        let (mut expected_y, mut expected_dx) = (Vec::new(), Vec::new());
        for row in 0..rows {
            let wide = |values: &[f32]| values[row * n..][..n].iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
            let (x, dy, before) = (wide(&x), wide(&dy), wide(&before));
            let r = inverse_rms(&x);
            let w: Vec<f64> = gain.iter().zip(&dy).map(|(g, dy)| f64::from(*g) * dy).collect();
            let along = w.iter().zip(&x).map(|(w, x)| w * x).sum::<f64>() / n as f64;
            expected_y.extend(gain.iter().zip(&x).map(|(g, x)| f64::from(*g) * x * r));
            expected_dx.extend((0..n).map(|i| before[i] + r * w[i] - x[i] * r.powi(3) * along));
        }
        assert_close::<F>(&format!("y of {rows} x {n}"), &y.read()?, &expected_y);
        assert_close::<F>(&format!("dx of {rows} x {n}"), &dx.read()?, &expected_dx);
    }
    Ok(())
}
