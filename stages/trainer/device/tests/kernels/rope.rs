//! Rotary embedding against its formula.

use crate::common::{Numbers, assert_close, on_every_machine, spread, wide};
use obvert_device::ops::rope::{self, Heads, Turn};
use obvert_device::{Device, Error, Stored};

const POSITIONS: [i32; 4] = [0, 6, 2, 2];

/// Heads, their values, where the first begins, and the stride: one value at a time and eight at once, also where threads
/// have several of them to turn.
const SHAPES: [(usize, usize, usize, usize); 6] =
    [(1, 2, 0, 2), (3, 6, 1, 23), (5, 128, 3, 645), (2, 16, 3, 40), (3, 16, 8, 64), (33, 128, 0, 4232)];

#[test]
fn heads_are_turned_there_and_back() {
    on_every_machine!("heads_are_turned_there_and_back", check);
}

fn check<F: Stored>(device: &Device<F>) -> Result<(), Error> {
    for (heads, d, first, stride) in SHAPES {
        for (turn, sign) in [(Turn::Forward, 1.0), (Turn::Backward, -1.0)] {
            let (mut numbers, rows) = (Numbers::new(d as u64), POSITIONS.len());
            let before =
                [vec![0.25; first], spread(&numbers.stored::<F>(rows * heads * d), heads * d, stride)].concat();
            let angles: Vec<f32> = (0..7 * d / 2).map(|_| 3.0 * numbers.next()).collect();
            let [cos, sin] = [f32::cos, f32::sin].map(|of| angles.iter().map(|angle| of(*angle)).collect::<Vec<_>>());
            let (cos_there, sin_there) = (device.copy("cos", &cos)?, device.copy("sin", &sin)?);
            let mut x = device.store("x", &before)?;
            let shape = Heads { rows, stride, first, heads, d };
            rope::turn(device, &mut x, shape, [&cos_there, &sin_there], &device.copy("positions", &POSITIONS)?, turn)?;
            let (before, mut expected) = (wide(&before), wide(&before));
            for (row, position) in POSITIONS.into_iter().enumerate() {
                for (head, i) in (0..heads).flat_map(|head| (0..d / 2).map(move |i| (head, i))) {
                    let (at, angle) = (first + row * stride + head * d + i, position as usize * d / 2 + i);
                    let (c, s) = (f64::from(cos[angle]), sign * f64::from(sin[angle]));
                    expected[at] = before[at] * c - before[at + d / 2] * s;
                    expected[at + d / 2] = before[at + d / 2] * c + before[at] * s;
                }
            }
            assert_close(&format!("{shape:?}, {turn:?}"), &x.read()?, &expected);
        }
    }
    Ok(())
}
