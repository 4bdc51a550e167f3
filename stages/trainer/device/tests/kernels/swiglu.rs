//! SwiGLU against its formula.

use crate::common::{GAP, Numbers, assert_close, on_every_machine, spread, wide};
use obvert_device::ops::swiglu;
use obvert_device::{Device, Error, Stored};

#[test]
fn forward_and_backward_are_those_of_the_formula() {
    on_every_machine!("forward_and_backward_are_those_of_the_formula", check);
}

fn check<F: Stored>(device: &Device<F>) -> Result<(), Error> {
    // Rows, f, and the strides of gate_up and h; eight values at once, and rows of two blocks, are among them.
    for (rows, f, both, single) in
        [(1, 1, 2, 1), (3, 37, 79, 40), (3, 40, 88, 44), (2, 24, 56, 32), (2, 2312, 4624, 2320)]
    {
        let mut numbers = Numbers::new(f as u64);
        // Up to ±20, where the sigmoid is flat.
        let scaled = |value: f32| F::narrow(20.0 * value).widen();
        let gate_up: Vec<f32> = numbers.stored::<F>(rows * 2 * f).into_iter().map(scaled).collect();
        let dh = numbers.stored::<F>(rows * f);
        let mut there = device.store("gate and up", &spread(&gate_up, 2 * f, both))?;
        let mut h = device.store("h", &vec![GAP; rows * single])?;
        swiglu::forward(device, (&mut h, single), (&there, both), [rows, f])?;
        let dh_there = device.store("dh", &spread(&dh, f, single))?;
        swiglu::backward(device, (&mut there, both), (&dh_there, single), [rows, f])?;
        let (mut expected_h, mut expected) = (Vec::new(), Vec::new());
        for (gate_up, dh) in wide(&gate_up).chunks(2 * f).zip(wide(&dh).chunks(f)) {
            let (gate, up) = gate_up.split_at(f);
            let sigma: Vec<f64> = gate.iter().map(|g| 1.0 / (1.0 + (-g).exp())).collect();
            expected_h.extend((0..f).map(|i| gate[i] * sigma[i] * up[i]));
            expected.extend((0..f).map(|i| dh[i] * up[i] * sigma[i] * (1.0 + gate[i] * (1.0 - sigma[i]))));
            expected.extend((0..f).map(|i| dh[i] * gate[i] * sigma[i]));
        }
        assert_close(&format!("h of {rows} x {f}"), &h.read()?, &spread(&expected_h, f, single));
        assert_close(&format!("gradients of {rows} x {f}"), &there.read()?, &spread(&expected, 2 * f, both));
    }
    Ok(())
}
