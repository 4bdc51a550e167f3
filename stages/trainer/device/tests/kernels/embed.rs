//! Rows picked from a table and put back, against their definition.

use crate::common::{Numbers, assert_close, on_every_machine, spread, wide};
use obvert_device::ops::embed::{self, Targets};
use obvert_device::{Device, Error, Stored};

/// Width and the table's stride: one value at a time, eight at once, and rows longer than a block.
const WIDTHS: [(usize, usize); 5] = [(1, 1), (5, 7), (16, 19), (24, 32), (2056, 2056)];

#[test]
fn rows_are_picked() {
    on_every_machine!("rows_are_picked", check_gather);
}

fn check_gather<F: Stored>(device: &Device<F>) -> Result<(), Error> {
    let indices = [3, 0, 3, 5];
    for (width, stride) in WIDTHS {
        let table = Numbers::new(width as u64).stored::<F>(6 * width);
        let (there, mut out) = (device.store("table", &spread(&table, width, stride))?, device.room("out", 4 * width)?);
        embed::gather(device, &mut out, (&there, stride), &device.copy("indices", &indices)?, [4, width])?;
        let expected: Vec<f32> =
            indices.iter().flat_map(|row| &table[*row as usize * width..][..width]).copied().collect();
        assert_eq!(out.read()?.into_iter().map(F::widen).collect::<Vec<_>>(), expected, "{width}");
    }
    Ok(())
}

#[test]
fn gradients_of_targets_are_added_to_their_rows() {
    on_every_machine!("gradients_of_targets_are_added_to_their_rows", check_scatter);
}

fn check_scatter<F: Stored>(device: &Device<F>) -> Result<(), Error> {
    // Two prompts, the last row of each with a target of both its responses: the row and the sequence of each target.
    let targets = [(1, 0), (2, 0), (1, 1), (3, 1), (6, 2), (6, 3), (7, 3)];
    let (rows, coefficients) = (9, [0.5, -0.25, 1.5, -1.0]);
    let order: Vec<i32> = (0..rows).flat_map(|row| (0..7).filter(move |at| targets[*at as usize].0 == row)).collect();
    let first: Vec<i32> = (0..=rows).map(|row| targets.iter().filter(|(at, _)| *at < row).count() as i32).collect();
    let (order_there, first_there) = (device.copy("order", &order)?, device.copy("first", &first)?);
    let sequences = device.copy("sequences", &targets.map(|(_, sequence)| sequence))?;
    let coefficients_there = device.copy("coefficients", &coefficients)?;
    let lists =
        Targets { first: &first_there, order: &order_there, sequences: &sequences, coefficients: &coefficients_there };
    for (width, _) in WIDTHS {
        let gathered = Numbers::new(width as u64).stored::<F>(targets.len() * width);
        let (there, mut dx) = (device.store("gathered", &gathered)?, device.room("dx", rows as usize * width)?);
        embed::scatter(device, &mut dx, &there, lists, [rows as usize, width])?;
        let mut expected = vec![0.0; rows as usize * width];
        for ((row, sequence), values) in targets.into_iter().zip(wide(&gathered).chunks(width)) {
            let sums = &mut expected[row as usize * width..][..width];
            let coefficient = f64::from(coefficients[sequence as usize]);
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += coefficient * value);
        }
        assert_close(&format!("width {width}"), &dx.read()?, &expected);
    }
    Ok(())
}
