//! Log-probabilities and their gradients against the softmax over the whole vocabulary.

use crate::common::{Numbers, assert_close, on_every_machine};
use obvert_device::machine::{Kind, Product};
use obvert_device::ops::logprob::{self, Expected};
use obvert_device::{Array, Device, Error, Stored};

#[test]
fn log_probabilities_and_gradients_are_those_of_the_whole_softmax() {
    on_every_machine!("log_probabilities_and_gradients_are_those_of_the_whole_softmax", check);
}

struct Case {
    rows: usize,
    width: usize,
    /// Between rows of the head.
    stride: usize,
    vocabulary: usize,
    chunk: usize,
    /// Of the hidden states: large ones make the greatest logit move between chunks by more than the kernel's slack.
    scale: f32,
}

const CASES: [Case; 5] = [
    Case { rows: 1, width: 1, stride: 1, vocabulary: 1, chunk: 1, scale: 1.0 },
    Case { rows: 3, width: 24, stride: 32, vocabulary: 100, chunk: 24, scale: 1.0 },
    Case { rows: 5, width: 21, stride: 23, vocabulary: 50, chunk: 7, scale: 40.0 },
    Case { rows: 2, width: 264, stride: 264, vocabulary: 33, chunk: 16, scale: 40.0 },
    Case { rows: 2, width: 8, stride: 8, vocabulary: 2_101, chunk: 1_050, scale: 8.0 },
];

fn check<F: Stored>(device: &Device<F>) -> Result<(), Error> {
    for case in CASES {
        // Eighths, so that sums of products are exact in float and only the kernels are measured.
        let mut numbers = Numbers::new(case.vocabulary as u64);
        let mut eighths = |count: usize, scale: f32| -> Vec<f32> {
            (0..count).map(|_| (numbers.next() * 8.0).round() / 8.0 * scale).collect()
        };
        let hidden = eighths(case.rows * case.width, case.scale);
        let head = eighths(case.vocabulary * case.stride, 1.0);
        // The first and the last token of the vocabulary are among the targets.
        let target = |row: usize| if row == 0 { case.vocabulary - 1 } else { (row - 1) * 19 % case.vocabulary };
        let targets: Vec<i32> = (0..case.rows).map(|row| target(row) as i32).collect();
        let there =
            (&device.store("hidden", &hidden)?, &device.store("head", &head)?, &device.copy("targets", &targets)?);
        let (logps, gradient) = run(device, &case, there, true)?;
        let (alone, _) = run(device, &case, there, false)?;
        let (expected_logps, expected_gradient) = reference(&case, &hidden, &head, &targets);
        let what = format!("{} x {} over {} by {}", case.rows, case.width, case.vocabulary, case.chunk);
        assert_close::<f32>(&format!("logps of {what}"), &logps.read()?, &expected_logps);
        assert_close::<f32>(&format!("logps alone of {what}"), &alone.read()?, &expected_logps);
        assert_close::<F>(&format!("gradient of {what}"), &gradient.read()?, &expected_gradient);
    }
    Ok(())
}

/// The operation as the trainer runs it.
fn run<F: Stored>(
    device: &Device<F>,
    case: &Case,
    (hidden, head, targets): (&Array<F>, &Array<F>, &Array<i32>),
    with_gradient: bool,
) -> Result<(Array<f32>, Array<F>), Error> {
    let (rows, width) = (case.rows, case.width);
    let stride = case.chunk.next_multiple_of(8);
    let mut logits: Array<f32> = device.room("logits", rows * stride)?;
    let mut weights: Array<F> = device.room("weights", rows * stride)?;
    let mut state: Array<f32> = device.room("state", 3 * rows)?;
    let mut sums: Array<f32> = device.room("sums", rows * width)?;
    for first in (0..case.vocabulary).step_by(case.chunk) {
        let count = case.chunk.min(case.vocabulary - first);
        let chunk = head.matrix(first * case.stride, case.stride, Kind::Real);
        let mut transposed = chunk;
        transposed.transposed = true;
        let (a, c) = (hidden.matrix(0, width, Kind::Real), logits.matrix(0, stride, Kind::Float));
        device.multiply(&Product { size: [rows, count, width], a, b: transposed, c, beta: 0.0 })?;
        let expected = with_gradient.then_some(Expected { weights: &mut weights, sums: &mut sums });
        logprob::absorb(device, &mut state, expected, &logits, targets, first..first + count)?;
        if with_gradient {
            let (a, c) = (weights.matrix(0, stride, Kind::Real), sums.matrix(0, width, Kind::Float));
            let beta = if first == 0 { 0.0 } else { 1.0 };
            device.multiply(&Product { size: [rows, width, count], a, b: chunk, c, beta })?;
        }
        // A chunk that does not see what an earlier one left.
        logits.write(0, &vec![f32::NAN; rows * stride])?;
    }
    let (mut logps, mut gradient) = (device.room("logps", rows)?, device.room("gradient", rows * width)?);
    let wanted = with_gradient.then_some((&mut gradient, &sums));
    logprob::finish(device, &mut logps, wanted, &state, (head, case.stride), targets)?;
    Ok((logps, gradient))
}

fn reference(case: &Case, hidden: &[f32], head: &[f32], targets: &[i32]) -> (Vec<f64>, Vec<f64>) {
    let weight = |token: usize, i: usize| f64::from(head[token * case.stride + i]);
    let (mut logps, mut gradient) = (Vec::new(), Vec::new());
    for (row, target) in targets.iter().enumerate() {
        let state = &hidden[row * case.width..][..case.width];
        let logit = |token| state.iter().enumerate().map(|(i, h)| f64::from(*h) * weight(token, i)).sum::<f64>();
        let logits: Vec<f64> = (0..case.vocabulary).map(logit).collect();
        let greatest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logits.iter().map(|logit| (logit - greatest).exp()).sum();
        logps.push(logits[*target as usize] - greatest - sum.ln());
        gradient.extend((0..case.width).map(|i| {
            let expected = logits.iter().enumerate().map(|(token, z)| (z - greatest).exp() / sum * weight(token, i));
            weight(*target as usize, i) - expected.sum::<f64>()
        }));
    }
    (logps, gradient)
}
