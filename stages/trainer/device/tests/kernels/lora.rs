//! The adapter's kernels against plain products.

use std::ops::Range;

use crate::common::{Numbers, assert_close, on_every_machine};
use obvert_device::ops::lora::{self, Columns, Wide};
use obvert_device::{Array, Device, Error, Stored};

const SCALE: f32 = 2.0;

/// An input of some matrices, each with its outputs and its rank. Strides are `pad` more than they must be.
struct Case {
    rows: usize,
    width: usize,
    matrices: &'static [(usize, usize)],
    pad: usize,
}

// Whole tiles and reads of 16 bytes, with what is left over of each; odd sizes, that are read one by one; more terms than are
// shared at once.
const CASES: [Case; 5] = [
    Case { rows: 1, width: 1, matrices: &[(1, 1)], pad: 0 },
    Case { rows: 32, width: 128, matrices: &[(128, 16)], pad: 0 },
    Case { rows: 37, width: 70, matrices: &[(9, 5), (4, 2)], pad: 1 },
    Case { rows: 41, width: 264, matrices: &[(40, 8), (8, 8), (16, 8)], pad: 8 },
    Case { rows: 290, width: 40, matrices: &[(8, 64), (132, 4)], pad: 4 },
];

impl Case {
    fn rank(&self) -> usize {
        self.matrices.iter().map(|(_, r)| r).sum()
    }

    fn stride(&self) -> usize {
        self.width + self.rank() + self.pad
    }

    fn outputs(&self) -> usize {
        self.matrices.iter().map(|(out, _)| out).sum()
    }

    fn wide(&self, rows: usize) -> Wide {
        Wide { rows, width: self.width, rank: self.rank(), stride: self.stride() }
    }

    /// Every matrix's rows of W and columns of S.
    fn places(&self) -> Vec<(Range<usize>, Range<usize>)> {
        let (mut row, mut column) = (0, 0);
        let place = |(out, r): &(usize, usize)| {
            let place = (row..row + out, column..column + r);
            (row, column) = (row + out, column + r);
            place
        };
        self.matrices.iter().map(place).collect()
    }
}

/// A matrix in the test: rows of values.
type Rows = Vec<Vec<f64>>;

/// Columns of a matrix on the machine.
fn columns<F: Stored>(values: &[F], stride: usize, columns: Range<usize>) -> Rows {
    let row = |row: &[F]| row[columns.clone()].iter().map(|value| f64::from(value.widen())).collect();
    values.chunks(stride).map(row).collect()
}

fn transposed(a: &Rows) -> Rows {
    (0..a[0].len()).map(|column| a.iter().map(|row| row[column]).collect()).collect()
}

/// c + scale A Bᵀ.
fn plus(c: &Rows, scale: f64, a: &Rows, b: &Rows) -> Vec<f64> {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let row =
        |(c, a): (&Vec<f64>, &Vec<f64>)| -> Vec<f64> { c.iter().zip(b).map(|(c, b)| c + scale * dot(a, b)).collect() };
    c.iter().zip(a).flat_map(row).collect()
}

fn zeros(rows: usize, columns: usize) -> Rows {
    vec![vec![0.0; columns]; rows]
}

/// Random values in the first `width` columns of every row, and NaN beyond, which must not be read.
fn padded<F: Stored>(numbers: &mut Numbers, rows: usize, width: usize, stride: usize) -> Vec<F> {
    let mut values = vec![F::narrow(f32::NAN); rows * stride];
    for row in values.chunks_mut(stride) {
        row[..width].iter_mut().zip(numbers.stored::<F>(width)).for_each(|(to, value)| *to = F::narrow(value));
    }
    values
}

#[test]
fn the_adapter_lies_beside_the_frozen_weights() {
    on_every_machine!("the_adapter_lies_beside_the_frozen_weights", check_places);
}

fn check_places<F: Stored>(device: &Device<F>) -> Result<(), Error> {
    for case in CASES {
        let mut numbers = Numbers::new(case.width as u64);
        let (stride, shape) = (case.stride(), case.wide(case.outputs()));
        let before: Vec<F> = padded(&mut numbers, case.outputs(), case.width, stride);
        let mut w = device.copy("w", &before)?;
        let mut stack: Array<F> = device.room("stack", case.rank() * (case.width + case.pad))?;
        lora::clear(device, &mut w, &shape)?;
        let (mut expected_w, mut expected_stack) = (before, Vec::new());
        for row in expected_w.chunks_mut(stride) {
            row[case.width..case.width + case.rank()].fill(F::narrow(0.0));
        }
        for (outputs, ranks) in case.places() {
            let mut numbers = |count: usize| (0..count).map(|_| numbers.next()).collect::<Vec<f32>>();
            let (a, b) = (numbers(ranks.len() * case.width), numbers(outputs.len() * ranks.len()));
            let (a_there, b_there) = (device.copy("a", &a)?, device.copy("b", &b)?);
            lora::place_b(device, &mut w, &shape, (&b_there, SCALE), outputs.start, ranks.clone())?;
            lora::place_a(device, (&mut stack, case.width + case.pad), (&a_there, case.width), ranks.start)?;
            for (row, values) in outputs.zip(b.chunks(ranks.len())) {
                let first = row * stride + case.width + ranks.start;
                expected_w[first..].iter_mut().zip(values).for_each(|(to, b)| *to = F::narrow(SCALE * b));
            }
            expected_stack.extend(a.iter().map(|a| f64::from(F::narrow(*a).widen())));
        }
        let bytes = |values: &[F]| bytemuck::cast_slice::<F, u8>(values).to_vec();
        assert_eq!(bytes(&w.read()?), bytes(&expected_w), "W of {} x {}", case.outputs(), case.width);
        let found = columns(&stack.read()?, case.width + case.pad, 0..case.width).concat();
        assert_eq!(found, expected_stack, "A's of {} x {}", case.rank(), case.width);
    }
    Ok(())
}

/// The gradients of gate and up, row by row, from those of what SwiGLU gives.
fn gated(gate_up: &[f32], slopes: &[f64], width: usize) -> Vec<f64> {
    let row = |(gate_up, slopes): (&[f32], &[f64])| {
        let of = |part: usize, i: usize| f64::from(gate_up[part * width + i]);
        let sigma = |i: usize| 1.0 / (1.0 + (-of(0, i)).exp());
        let gate = |i: usize| slopes[i] * of(1, i) * sigma(i) * (1.0 + of(0, i) * (1.0 - sigma(i)));
        (0..width).map(gate).chain((0..width).map(|i| slopes[i] * of(0, i) * sigma(i))).collect::<Vec<_>>()
    };
    gate_up.chunks(2 * width).zip(slopes.chunks(width)).flat_map(row).collect()
}

#[test]
fn sums_and_gradients_are_those_of_plain_products() {
    on_every_machine!("sums_and_gradients_are_those_of_plain_products", check_products);
}

fn check_products<F: Stored>(device: &Device<F>) -> Result<(), Error> {
    for case in CASES {
        let mut numbers = Numbers::new(case.rows as u64);
        let (rows, width, rank, stride) = (case.rows, case.width, case.rank(), case.stride());
        let (shape, what) = (case.wide(rows), format!("{} x {width}, rank {rank}", rows));
        let stack: Vec<F> = padded(&mut numbers, rank, width, width + case.pad);
        let a = columns(&stack, width + case.pad, 0..width);
        let stack = (&device.copy("stack", &stack)?, width + case.pad);
        let x: Vec<F> = padded(&mut numbers, rows, width, stride);
        let mut x_there = device.copy("x", &x)?;
        let x = columns(&x, stride, 0..width);

        lora::down(device, &mut x_there, &shape, stack)?;
        let after = x_there.read()?;
        assert_eq!(columns(&after, stride, 0..width), x, "x of {what} stays");
        let s = columns(&after, stride, width..width + rank);
        let found: Vec<F> = s.iter().flatten().map(|s| F::narrow(*s as f32)).collect();
        assert_close::<F>(&format!("S of {what}"), &found, &plus(&zeros(rows, rank), 1.0, &x, &a));

        let dx: Vec<F> = padded(&mut numbers, rows, width + rank, stride);
        let mut dx_there = device.copy("dx", &dx)?;
        let (dx, ds) = (columns(&dx, stride, 0..width), columns(&dx, stride, width..width + rank));
        let before = numbers.stored::<f32>(rank * width);
        let mut d_a = device.copy("dA", &before)?;
        let columns_of_s = shape.beside(&dx_there, 0..rank);
        lora::gradient_a(device, &mut d_a, shape.own(&x_there), columns_of_s)?;
        let expected = plus(&columns(&before, width, 0..width), 1.0, &transposed(&ds), &transposed(&x));
        assert_close::<f32>(&format!("dA of {what}"), &d_a.read()?, &expected);

        let gate_up = numbers.stored::<F>(rows * 2 * width);
        let mut gate_up_there = device.store("gate and up", &gate_up)?;
        lora::swiglu_backward(device, (&mut gate_up_there, 2 * width), &dx_there, &shape, stack)?;
        let slopes = plus(&dx, 1.0, &ds, &transposed(&a));
        assert_close(&format!("gate and up of {what}"), &gate_up_there.read()?, &gated(&gate_up, &slopes, width));

        lora::add_down(device, &mut dx_there, &shape, stack)?;
        let after = dx_there.read()?;
        assert_eq!(columns(&after, stride, width..width + rank), ds, "dS of {what} stays");
        let found: Vec<F> = after.chunks(stride).flat_map(|row| &row[..width]).copied().collect();
        assert_close::<F>(&format!("dx of {what}"), &found, &plus(&dx, 1.0, &ds, &transposed(&a)));

        let outputs = case.outputs();
        let dy: Vec<F> = padded(&mut numbers, rows, outputs, outputs + case.pad);
        let dy_there = device.copy("dy", &dy)?;
        for (of, ranks) in case.places() {
            let (out, r) = (of.len(), ranks.len());
            let before = numbers.stored::<f32>(out * r);
            let mut d_b = device.copy("dB", &before)?;
            let mut product = device.room("a product", out * r)?;
            let own = Columns::new(&dy_there, rows, outputs + case.pad, of.clone());
            let beside = shape.beside(&x_there, ranks.clone());
            lora::gradient_b(device, (&mut d_b, SCALE), &mut product, own, beside)?;
            let dy = transposed(&columns(&dy, outputs + case.pad, of));
            let s: Rows = s.iter().map(|row| row[ranks.clone()].to_vec()).collect();
            let expected = plus(&columns(&before, r, 0..r), f64::from(SCALE), &dy, &transposed(&s));
            assert_close::<f32>(&format!("dB {out} x {r} of {what}"), &d_b.read()?, &expected);
        }
    }
    Ok(())
}
