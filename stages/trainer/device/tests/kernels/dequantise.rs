//! BlockType blocks against a plain reading of ggml's layouts, bit for bit.

use half::f16;

use crate::common::{Numbers, on_every_machine};
use obvert_device::ops::dequantise::{self, BlockType};
use obvert_device::{Device, Error, Stored};

const KINDS: [BlockType; 4] = [BlockType::Q8_0, BlockType::Q4_0, BlockType::Q4_1, BlockType::Q6K];

#[test]
fn blocks_are_read_as_ggml_reads_them() {
    on_every_machine!("blocks_are_read_as_ggml_reads_them", check);
}

/// Weight number `i` of a block.
fn weight(kind: BlockType, block: &[u8], i: usize) -> f32 {
    let half = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
    let nibble = |bytes: &[u8]| f32::from(if i < 16 { bytes[i] & 15 } else { bytes[i - 16] >> 4 });
    match kind {
        BlockType::Q8_0 => f32::from(block[2 + i].cast_signed()) * half(0),
        BlockType::Q4_0 => (nibble(&block[2..]) - 8.0) * half(0),
        BlockType::Q4_1 => nibble(&block[4..]) * half(0) + half(2),
        BlockType::Q6K => {
            let (part, run, l) = (i / 128, i / 32 % 4, i % 32);
            let low = block[part * 64 + run % 2 * 32 + l] >> (run / 2 * 4) & 15;
            let high = block[128 + part * 32 + l] >> (run * 2) & 3;
            let sub = f32::from(block[192 + part * 8 + run * 2 + l / 16].cast_signed());
            half(208) * sub * (f32::from(low | high << 4) - 32.0)
        }
    }
}

/// Where a block has halves.
fn halves(kind: BlockType) -> &'static [usize] {
    match kind {
        BlockType::Q8_0 | BlockType::Q4_0 => &[0],
        BlockType::Q4_1 => &[0, 2],
        BlockType::Q6K => &[208],
    }
}

/// Random blocks, with scales of every kind: large, small, without a leading 1, zero, infinite, of either sign.
fn blocks(kind: BlockType, count: usize, numbers: &mut Numbers) -> Vec<u8> {
    let bytes = kind.block().1;
    let mut blocks: Vec<u8> = (0..count * bytes).map(|_| numbers.below(256) as u8).collect();
    for (index, block) in blocks.chunks_mut(bytes).enumerate() {
        for at in halves(kind) {
            let scale = numbers.next() * [1.0, 1e-5, 1e-7, 0.0, f32::INFINITY, 300.0][index % 6];
            block[*at..at + 2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
        }
    }
    blocks
}

fn check<F: Stored>(device: &Device<F>) -> Result<(), Error> {
    for kind in KINDS {
        let weights = kind.block().0;
        // Rows, blocks of each, the block they begin at, the value of y they begin at, the stride beyond a row. One row
        // is more than a block of threads takes.
        for [rows, row_blocks, first, to, pad] in [[1, 1, 0, 0, 0], [3, 3, 1, 0, 8], [2, 5, 3, 3, 5], [1, 67, 2, 8, 0]]
        {
            let mut numbers = Numbers::new((rows * row_blocks) as u64);
            let (n, bytes) = (row_blocks * weights, blocks(kind, first + rows * row_blocks, &mut numbers));
            let stride = n + pad;
            let before: Vec<F> = numbers.stored::<F>(to + rows * stride).into_iter().map(F::narrow).collect();
            let mut y = device.copy("y", &before)?;
            let there = device.copy("blocks", &bytes)?;
            dequantise::rows(device, (&mut y, to, stride), (kind, &there, first), [rows, n])?;
            let mut expected = before;
            let all: Vec<&[u8]> = bytes.chunks(kind.block().1).skip(first).collect();
            for row in 0..rows {
                for column in 0..n {
                    let block = all[row * row_blocks + column / weights];
                    expected[to + row * stride + column] = F::narrow(weight(kind, block, column % weights));
                }
            }
            for (at, (found, expected)) in y.read()?.iter().zip(&expected).enumerate() {
                let (found, expected) = (found.widen(), expected.widen());
                assert!(
                    found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan(),
                    "{kind:?}, {rows} x {n}: value {at} is {found}, expected {expected}"
                );
            }
        }
    }
    Ok(())
}
