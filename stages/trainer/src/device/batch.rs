//! What a pass reads of a packed batch, on the device.

use obvert_device::ops::attention::Sight;
use obvert_device::{Array, Device, Error, Stored};

use crate::config::Config;
use crate::ops::rope::frequencies;
use crate::pack::Pack;

/// A packed batch on the device.
#[derive(Debug)]
pub(super) struct Packed {
    /// Rows of the pack.
    pub(super) rows: usize,
    /// Targets.
    pub(super) count: usize,
    /// Responses.
    pub(super) sequences: usize,
    /// `[rows]`.
    pub(super) tokens: Array<i32>,
    /// `[rows]`.
    pub(super) positions: Array<i32>,
    /// Cosines and sines `[positions, d/2]`.
    pub(super) angles: [Array<f32>; 2],
    pub(super) sight: Sight,
    /// The row of every target.
    pub(super) target_rows: Array<i32>,
    /// The token of every target.
    pub(super) target_tokens: Array<i32>,
    /// The response of every target.
    pub(super) target_sequences: Array<i32>,
    /// Where each response's targets begin `[sequences + 1]`.
    pub(super) first_of_response: Array<i32>,
    /// Where each row's targets begin in `by_row` `[rows + 1]`.
    pub(super) first_of_row: Array<i32>,
    pub(super) by_row: Array<i32>,
    /// 1 for every row: what a bias is multiplied by.
    pub(super) ones: Array<f32>,
}

impl Packed {
    pub(super) fn new<F: Stored>(device: &Device<F>, config: &Config, pack: &Pack) -> Result<Self, Error> {
        let copy = |what: &str, values: &mut dyn Iterator<Item = usize>| {
            device.copy(what, &values.map(|value| value as i32).collect::<Vec<_>>())
        };
        let (rows, targets) = (pack.tokens.len(), &pack.targets);
        let mut by_row: Vec<usize> = (0..targets.len()).collect();
        by_row.sort_by_key(|at| targets[*at].row);
        let documents = pack.documents.iter().map(|document| (document.prefix, document.branches.as_slice()));
        Ok(Self {
            rows,
            count: targets.len(),
            sequences: pack.sequences,
            tokens: copy("tokens", &mut pack.tokens.iter().map(|token| *token as usize))?,
            positions: copy("positions", &mut pack.positions.iter().copied())?,
            angles: angles(device, config, pack.longest())?,
            sight: Sight::new(device, documents)?,
            target_rows: copy("targets", &mut targets.iter().map(|target| target.row))?,
            target_tokens: copy("targets", &mut targets.iter().map(|target| target.token as usize))?,
            target_sequences: copy("targets", &mut targets.iter().map(|target| target.sequence))?,
            first_of_response: copy("targets", &mut firsts(targets.iter().map(|t| t.sequence), pack.sequences))?,
            first_of_row: copy("targets", &mut firsts(by_row.iter().map(|at| targets[*at].row), rows))?,
            by_row: copy("targets", &mut by_row.iter().copied())?,
            ones: device.copy("ones", &vec![1.0_f32; rows])?,
        })
    }
}

/// Where each of `count` groups begins in a list that is sorted by them, and where the last one ends.
fn firsts(groups: impl Iterator<Item = usize>, count: usize) -> impl Iterator<Item = usize> {
    let mut sizes = vec![0; count + 1];
    groups.for_each(|group| sizes[group + 1] += 1);
    sizes.into_iter().scan(0, |sum, size| {
        *sum += size;
        Some(*sum)
    })
}

fn angles<F: Stored>(device: &Device<F>, config: &Config, positions: usize) -> Result<[Array<f32>; 2], Error> {
    let frequencies = frequencies(config);
    let angles: Vec<f64> =
        (0..positions).flat_map(|position| frequencies.iter().map(move |w| position as f64 * w)).collect();
    let table =
        |of: fn(f64) -> f64| device.copy("angles", &angles.iter().map(|angle| of(*angle) as f32).collect::<Vec<_>>());
    Ok([table(f64::cos)?, table(f64::sin)?])
}
