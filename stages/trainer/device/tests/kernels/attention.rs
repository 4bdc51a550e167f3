//! Attention against its definition: every query over every key that the mask shows it.

use std::ops::Range;

use crate::common::{Numbers, assert_close, assert_within, on_every_machine, unit};
use obvert_device::ops::attention::{Attention, Saved, Sight};
use obvert_device::{Device, Error, Stored};

/// A prefix and its branches, in rows.
type Document = (usize, &'static [usize]);

#[derive(Clone, Copy, Debug)]
struct Case {
    documents: &'static [Document],
    heads: usize,
    kv_heads: usize,
    d: usize,
    /// Values from row to row beyond those of the heads: an odd number leaves no two values together.
    more: usize,
    /// Scores are as large as this many times d.
    large: f32,
}

const NARROW: &[Case] = &[
    Case { documents: &[(1, &[])], heads: 1, kv_heads: 1, d: 64, more: 0, large: 1.0 },
    // Every length at which a tile ends, one more and one less; branches of nothing and of one row.
    Case { documents: &[(70, &[1, 0, 63, 65]), (1, &[2])], heads: 1, kv_heads: 1, d: 16, more: 8, large: 1.0 },
    // A block has rows of several documents, and a document those of several blocks; a whole tile is of another branch.
    Case {
        documents: &[(10, &[118, 1, 30]), (3, &[5, 7]), (1, &[])],
        heads: 3,
        kv_heads: 1,
        d: 64,
        more: 16,
        large: 4.0,
    },
    Case { documents: &[(2, &[3]), (33, &[31, 1])], heads: 4, kv_heads: 2, d: 6, more: 1, large: 2.0 },
    // The last query is alone in its tile.
    Case { documents: &[(17, &[28, 20])], heads: 2, kv_heads: 1, d: 80, more: 0, large: 1.0 },
];

/// Heads as wide as those of large models and wider; beside the others, because they take as long as those together.
const WIDE: &[Case] = &[
    Case { documents: &[(16, &[17, 33]), (1, &[1])], heads: 2, kv_heads: 2, d: 128, more: 8, large: 1.0 },
    Case { documents: &[(5, &[14, 33])], heads: 1, kv_heads: 1, d: 200, more: 0, large: 1.0 },
    // Several blocks, groups of warps and tiles, of which some see nothing of each other.
    Case { documents: &[(70, &[66, 70])], heads: 2, kv_heads: 1, d: 128, more: 0, large: 2.0 },
    Case { documents: &[(40, &[30])], heads: 2, kv_heads: 1, d: 256, more: 8, large: 1.0 },
];

impl Case {
    fn rows(&self) -> usize {
        self.documents.iter().map(|(prefix, branches)| prefix + branches.iter().sum::<usize>()).sum()
    }

    fn out_stride(&self) -> usize {
        self.heads * self.d + self.more
    }

    fn stride(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.d + self.more
    }

    /// The rows that each row sees.
    fn seen(&self) -> Vec<Vec<usize>> {
        let mut seen: Vec<Vec<usize>> = Vec::new();
        for (prefix, branches) in self.documents {
            let start = seen.len();
            seen.extend((start..start + prefix).map(|row| (start..=row).collect()));
            for branch in *branches {
                let own = seen.len();
                seen.extend((own..own + branch).map(|row| (start..start + prefix).chain(own..=row).collect()));
            }
        }
        seen
    }
}

/// Numbers, and for each the sum of the magnitudes of the terms that are rounded before they are added.
#[derive(Clone, Debug)]
struct Sums {
    value: Vec<f64>,
    terms: Vec<f64>,
}

impl Sums {
    fn new(len: usize) -> Self {
        Self { value: vec![0.0; len], terms: vec![0.0; len] }
    }

    fn add(&mut self, at: usize, term: f64) {
        self.value[at] += term;
        self.terms[at] += term.abs();
    }
}

/// P of one head and row: the probability of every row that it sees, and ln Σ exp(s).
fn probabilities(case: &Case, qkv: &[f32], head: usize, row: usize, seen: &[usize]) -> (Vec<f64>, f64) {
    let scale = 1.0 / (case.d as f64).sqrt();
    let scores = seen.iter().map(|key| scale * dot(&q_of(case, qkv, head, row), &kv_of(case, qkv, 0, head, *key)));
    let scores: Vec<f64> = scores.collect();
    let lse = scores.iter().map(|score| score.exp()).sum::<f64>().ln();
    (scores.iter().map(|score| (score - lse).exp()).collect(), lse)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

fn q_of(case: &Case, qkv: &[f32], head: usize, row: usize) -> Vec<f64> {
    wide(&qkv[row * case.stride() + head * case.d..][..case.d])
}

/// Where the key (`which` 0) or the value (1) that a query head reads begins in the matrix.
fn kv_at(case: &Case, which: usize, head: usize, row: usize) -> usize {
    let kv_head = case.heads + which * case.kv_heads + head / (case.heads / case.kv_heads);
    row * case.stride() + kv_head * case.d
}

fn kv_of(case: &Case, qkv: &[f32], which: usize, head: usize, row: usize) -> Vec<f64> {
    wide(&qkv[kv_at(case, which, head, row)..][..case.d])
}

/// The outputs without what lies between rows, and lse.
fn forward(case: &Case, qkv: &[f32]) -> (Sums, Vec<f64>) {
    let (d, seen) = (case.d, case.seen());
    let (mut out, mut log_sums) = (Sums::new(case.rows() * case.heads * d), Vec::new());
    for head in 0..case.heads {
        for (row, seen) in seen.iter().enumerate() {
            let (p, lse) = probabilities(case, qkv, head, row, seen);
            log_sums.push(lse);
            for (p, key) in p.iter().zip(seen) {
                let v = kv_of(case, qkv, 1, head, *key);
                (0..d).for_each(|c| out.add((row * case.heads + head) * d + c, p * v[c]));
            }
        }
    }
    (out, log_sums)
}

/// The gradients of q, k and v in their layout, without what lies between rows.
fn backward(case: &Case, qkv: &[f32], out: &[f32], d_out: &[f32]) -> Sums {
    let (d, seen, scale) = (case.d, case.seen(), 1.0 / (case.d as f64).sqrt());
    let mut sums = Sums::new(case.rows() * case.stride());
    for head in 0..case.heads {
        for (row, seen) in seen.iter().enumerate() {
            let (p, _) = probabilities(case, qkv, head, row, seen);
            let at = row * case.out_stride() + head * d;
            let (q, out, d_out) = (q_of(case, qkv, head, row), wide(&out[at..][..d]), wide(&d_out[at..][..d]));
            let delta = dot(&out, &d_out);
            for (p, key) in p.iter().zip(seen) {
                let (k, v) = (kv_of(case, qkv, 0, head, *key), kv_of(case, qkv, 1, head, *key));
                let ds = scale * p * (dot(&d_out, &v) - delta);
                for c in 0..d {
                    sums.add(row * case.stride() + head * d + c, ds * k[c]);
                    sums.add(kv_at(case, 0, head, *key) + c, ds * q[c]);
                    sums.add(kv_at(case, 1, head, *key) + c, p * d_out[c]);
                }
            }
        }
    }
    sums
}

/// Some columns of rows `stride` apart.
fn columns<T: Copy>(values: &[T], stride: usize, columns: Range<usize>) -> Vec<T> {
    values.chunks(stride).flat_map(|row| &row[columns.clone()]).copied().collect()
}

/// Numbers for q, k and v, of which q is larger so that scores are, and for the gradient of the outputs.
fn numbers<F: Stored>(case: &Case, seed: u64) -> [Vec<f32>; 2] {
    let mut numbers = Numbers::new(seed);
    let mut qkv = numbers.stored::<F>(case.rows() * case.stride());
    for row in qkv.chunks_mut(case.stride()) {
        row[..case.heads * case.d].iter_mut().for_each(|q| *q *= case.large);
    }
    [qkv, numbers.stored::<F>(case.rows() * case.out_stride())]
}

/// What forward and backward give. What lies between rows stays 7.
struct Found<F> {
    out: Vec<F>,
    lse: Vec<f32>,
    gradients: Vec<F>,
}

/// Runs forward and backward, the latter with other outputs and lse where there are some.
fn run<F: Stored>(
    device: &Device<F>,
    case: &Case,
    [qkv, d_out]: &[Vec<f32>; 2],
    saved: Option<(&[f32], &[f32])>,
) -> Result<Found<F>, Error> {
    let sight = Sight::new(device, case.documents.iter().copied())?;
    let attention = Attention { heads: case.heads, kv_heads: case.kv_heads, head_dim: case.d, sight: &sight };
    let (rows, stride, out_stride) = (case.rows(), case.stride(), case.out_stride());
    let (qkv, d_out) = (device.store("qkv", qkv)?, device.store("d_out", d_out)?);
    let mut out = device.store("out", &vec![7.0; rows * out_stride])?;
    let mut lse = device.room("lse", case.heads * rows)?;
    attention.forward(device, (&mut out, out_stride), &mut lse, (&qkv, stride))?;
    let (found_out, found_lse) = (out.read()?, lse.read()?);
    if let Some((exact_out, exact_lse)) = saved {
        (out, lse) = (device.store("out", exact_out)?, device.copy("lse", exact_lse)?);
    }
    let mut d_qkv = device.store("d_qkv", &vec![7.0; rows * stride])?;
    let mut delta = device.room("delta", case.heads * rows)?;
    let saved = Saved { qkv: (&qkv, stride), out: (&out, out_stride), d_out: (&d_out, out_stride), lse: &lse };
    attention.backward(device, (&mut d_qkv, stride), &mut delta, &saved)?;
    Ok(Found { out: found_out, lse: found_lse, gradients: d_qkv.read()? })
}

#[test]
fn attention_is_that_of_the_definition() {
    on_every_machine!("attention_is_that_of_the_definition", check_narrow);
}

#[test]
fn attention_of_wide_heads_is_that_of_the_definition() {
    on_every_machine!("attention_of_wide_heads_is_that_of_the_definition", check_wide);
}

fn check_narrow<F: Stored>(device: &Device<F>) -> Result<(), Error> {
    check(device, NARROW)
}

fn check_wide<F: Stored>(device: &Device<F>) -> Result<(), Error> {
    check(device, WIDE)
}

fn check<F: Stored>(device: &Device<F>, cases: &[Case]) -> Result<(), Error> {
    for case in cases {
        let (out_stride, width) = (case.out_stride(), case.heads * case.d);
        let numbers = numbers::<F>(case, case.d as u64);
        let (out, lse) = forward(case, &numbers[0]);
        // The backward is given the exact outputs, rounded, so that it is compared by itself.
        let mut exact_out = vec![0.0; case.rows() * out_stride];
        for (row, values) in exact_out.chunks_mut(out_stride).zip(out.value.chunks(width)) {
            row.iter_mut().zip(values).for_each(|(out, value)| *out = F::narrow(*value as f32).widen());
        }
        let exact_lse: Vec<f32> = lse.iter().map(|value| *value as f32).collect();
        let found = run(device, case, &numbers, Some((&exact_out, &exact_lse)))?;
        compare_forward(case, &found, &out, &lse);
        compare_backward(case, &found.gradients, &backward(case, &numbers[0], &exact_out, &numbers[1]));
    }
    Ok(())
}

// P is rounded before it weighs v, and P and dS before they weigh do, k and q: each term by one unit at most.

fn compare_forward<F: Stored>(case: &Case, found: &Found<F>, out: &Sums, lse: &[f64]) {
    let (stride, width) = (case.out_stride(), case.heads * case.d);
    let bound: Vec<f64> = out.terms.iter().map(|terms| terms * unit::<F>()).collect();
    assert_within(&format!("out of {case:?}"), &columns(&found.out, stride, 0..width), &out.value, &bound);
    assert_close(&format!("lse of {case:?}"), &found.lse, lse);
    let between = columns(&found.out, stride, width..stride);
    assert!(between.iter().all(|value| value.widen() == 7.0), "between rows of {case:?}");
}

fn compare_backward<F: Stored>(case: &Case, found: &[F], expected: &Sums) {
    let (stride, q, kv) = (case.stride(), case.heads * case.d, case.kv_heads * case.d);
    let bound: Vec<f64> = expected.terms.iter().map(|terms| terms * unit::<F>()).collect();
    for (name, part) in [("dq", 0..q), ("dk", q..q + kv), ("dv", q + kv..q + 2 * kv)] {
        let of = |values: &[f64]| columns(values, stride, part.clone());
        let found = columns(found, stride, part.clone());
        assert_within(&format!("{name} of {case:?}"), &found, &of(&expected.value), &of(&bound));
    }
    let between = columns(found, stride, q + 2 * kv..stride);
    assert!(between.iter().all(|value| value.widen() == 7.0), "between rows of {case:?}");
}

#[test]
fn a_document_does_not_depend_on_its_neighbours() {
    on_every_machine!("a_document_does_not_depend_on_its_neighbours", check_neighbours);
}

fn check_neighbours<F: Stored>(device: &Device<F>) -> Result<(), Error> {
    let documents: &[Document] = &[(7, &[9]), (5, &[20, 3]), (4, &[8])];
    let case = Case { documents, heads: 2, kv_heads: 1, d: 64, more: 8, large: 1.0 };
    let (own, rows) = (16..44, case.rows());
    let ours = numbers::<F>(&case, 1);
    let mut theirs = numbers::<F>(&case, 2);
    for ((ours, theirs), stride) in ours.iter().zip(&mut theirs).zip([case.stride(), case.out_stride()]) {
        theirs[own.start * stride..own.end * stride].copy_from_slice(&ours[own.start * stride..own.end * stride]);
    }
    let [one, other] = [ours, theirs].map(|numbers| run(device, &case, &numbers, None));
    let (one, other) = (one?, other?);
    let of = |values: &[F], stride: usize| {
        values[own.start * stride..own.end * stride].iter().map(|value| value.widen().to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(of(&one.out, case.out_stride()), of(&other.out, case.out_stride()), "out");
    assert_eq!(of(&one.gradients, case.stride()), of(&other.gradients, case.stride()), "gradients");
    for head in 0..case.heads {
        let lse = |values: &[f32]| values[head * rows..][own.clone()].to_vec();
        assert_eq!(lse(&one.lse), lse(&other.lse), "lse of head {head}");
    }
    assert_ne!(one.out[0].widen(), other.out[0].widen(), "the neighbours are the same");
    Ok(())
}
