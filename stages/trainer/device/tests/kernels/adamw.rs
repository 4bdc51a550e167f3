//! AdamW and the clipping before it against their formulas.

use crate::common::{Numbers, assert_close, on_every_machine, wide};
use obvert_device::ops::adamw::{self, PARTIALS, Step};
use obvert_device::{Argument, Device, Error, Stored};

const STEP: Step = Step { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01, learning_rate: 0.02, number: 1 };

#[test]
fn updates_are_those_of_the_formula() {
    on_every_machine!("updates_are_those_of_the_formula", check);
}

fn check<F: Stored>(device: &Device<F>) -> Result<(), Error> {
    for (n, most) in [(1, 0.0), (6, 0.5), (2051, 1.0), (1024, 1e3)] {
        let mut numbers = Numbers::new(n as u64);
        let before: Vec<f32> = (0..n).map(|_| numbers.next()).collect();
        let (mut x, mut m, mut v) = (wide(&before), vec![0.0; n], vec![0.0; n]);
        let (mut weights, zeros) = (device.copy("weights", &before)?, vec![0.0_f32; n]);
        let (mut first, mut second) = (device.copy("first", &zeros)?, device.copy("second", &zeros)?);
        let (mut clip, mut partial) = (device.room("clip", 2)?, device.room("partial", PARTIALS)?);
        for number in 1..=3 {
            let gradient: Vec<f32> = (0..n).map(|_| numbers.next()).collect();
            let there = device.copy("gradient", &gradient)?;
            adamw::clip(device, &mut clip, &mut partial, &there, most)?;
            let step = Step { number, ..STEP };
            adamw::update(device, [&mut weights, &mut first, &mut second], &there, &clip, step)?;
            let norm = wide(&gradient).iter().map(|g| g * g).sum::<f64>().sqrt();
            let factor = if most > 0.0 && norm > f64::from(most) { f64::from(most) / (norm + 1e-6) } else { 1.0 };
            assert_close(&format!("norm and factor of {n}"), &clip.read()?, &[norm, factor]);
            for (i, g) in wide(&gradient).into_iter().map(|g| factor * g).enumerate() {
                m[i] = step.beta1 * m[i] + (1.0 - step.beta1) * g;
                v[i] = step.beta2 * v[i] + (1.0 - step.beta2) * g * g;
                let [mean, square] = [(m[i], step.beta1), (v[i], step.beta2)]
                    .map(|(value, beta)| value / (1.0 - beta.powf(number as f64)));
                x[i] -= step.learning_rate * (step.weight_decay * x[i] + mean / (square.sqrt() + step.eps));
            }
        }
        assert_close(&format!("{n} weights"), &weights.read()?, &x);
        assert_close(&format!("{n} first moments"), &first.read()?, &m);
        assert_close(&format!("{n} second moments"), &second.read()?, &v);
    }
    Ok(())
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing() {
    on_every_machine!("a_gradient_that_is_not_finite_changes_nothing", check_refusal);
}

fn check_refusal<F: Stored>(device: &Device<F>) -> Result<(), Error> {
    let before = [0.5_f32, -1.0, 2.0, 0.25, 3.0];
    for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30] {
        let [mut weights, mut first, mut second] = [(); 3].map(|()| device.copy("state", &before).unwrap());
        let (mut clip, mut partial) = (device.room("clip", 2)?, device.room("partial", PARTIALS)?);
        let gradient = device.copy("gradient", &[0.1, 0.2, 0.3, 0.4, wrong])?;
        adamw::clip(device, &mut clip, &mut partial, &gradient, 1.0)?;
        adamw::update(device, [&mut weights, &mut first, &mut second], &gradient, &clip, STEP)?;
        assert!(!clip.read()?[0].is_finite(), "{wrong}: {:?}", clip.read()?);
        for array in [weights, first, second] {
            assert_eq!(array.read()?, before, "{wrong}");
        }
    }
    Ok(())
}

#[test]
fn few_blocks_add_up_many_squares() {
    on_every_machine!("few_blocks_add_up_many_squares", check_squares);
}

fn check_squares<F: Stored>(device: &Device<F>) -> Result<(), Error> {
    // Two blocks of two warps take 512 values at a time.
    for n in [511_usize, 512, 1027, 2050] {
        let mut numbers = Numbers::new(n as u64);
        let x: Vec<f32> = (0..n).map(|_| numbers.next()).collect();
        let (there, partial) = (device.copy("x", &x)?, device.room::<f32>("partial", 2)?);
        let arguments = [partial.whole(), there.whole(), Argument::Int(n as i32)];
        device.launch("sum_squares", ([2, 1, 1], 64, 8), &arguments)?;
        let squares = wide(&x).iter().map(|x| x * x).sum();
        assert_close(&format!("squares of {n}"), &[partial.read()?.iter().sum::<f32>()], &[squares]);
    }
    Ok(())
}
