//! Blocks of every GGUF type against values worked out by hand.

use half::{bf16, f16};
use obvert_trainer::load::quant::GgmlType;

fn half(value: f32) -> [u8; 2] {
    f16::from_f32(value).to_le_bytes()
}

#[test]
fn plain_types() {
    assert_eq!(GgmlType::F32.dequantise(&[0, 0, 0xC0, 0x3F, 0, 0, 0, 0xC0]), [1.5, -2.0]);
    // 2⁻²⁴, the least half; 1.5.
    assert_eq!(GgmlType::F16.dequantise(&[1, 0, 0, 0x3E]), [2_f32.powi(-24), 1.5]);
    assert_eq!(GgmlType::BF16.dequantise(&bf16::from_f32(-3.0).to_le_bytes()), [-3.0]);
}

#[test]
fn four_bits() {
    // Byte i holds weight i below and weight 16 + i above: here i and 15 - i.
    let quants: Vec<u8> = (0..16).map(|i| (15 - i) << 4 | i).collect();
    let block = [half(0.5).to_vec(), quants.clone()].concat();
    let expected = (0..32).map(|i| if i < 16 { 0.5 * (i - 8) as f32 } else { 0.5 * (31 - i - 8) as f32 });
    assert_eq!(GgmlType::Q4_0.dequantise(&block), expected.collect::<Vec<_>>());

    let block = [half(0.25).to_vec(), half(-2.0).to_vec(), quants].concat();
    let expected = (0..32).map(|i| if i < 16 { 0.25 * i as f32 - 2.0 } else { 0.25 * (31 - i) as f32 - 2.0 });
    assert_eq!(GgmlType::Q4_1.dequantise(&block), expected.collect::<Vec<_>>());
}

#[test]
fn eight_bits_and_several_blocks() {
    let block = |scale: f32| [half(scale).to_vec(), (0..32).map(|i| (i * 8 - 128) as i8 as u8).collect()].concat();
    let blocks = [block(0.125), block(-1.0)].concat();
    let expected = [0.125, -1.0].into_iter().flat_map(|scale| (0..32).map(move |i| scale * (i * 8 - 128) as f32));
    assert_eq!(GgmlType::Q8_0.dequantise(&blocks), expected.collect::<Vec<_>>());
}

#[test]
fn six_bits() {
    // Sub-scale s (of 16 weights) is s - 7; weight w has the 6-bit value (5 w + 3) mod 64.
    let value = |w: usize| ((5 * w + 3) % 64) as u8;
    let mut block = vec![0_u8; 210];
    for w in 0..256 {
        // ggml: in each half, weights l, 32 + l, 64 + l, 96 + l lie in the low nibbles of bytes l and 32 + l, then in
        // their high nibbles; their upper two bits lie in byte l at bits 0, 2, 4, 6.
        let (part, l) = (w / 128, w % 32);
        let (low, nibble, high) = match w % 128 / 32 {
            0 => (l, 0, 0),
            1 => (32 + l, 0, 2),
            2 => (l, 4, 4),
            _ => (32 + l, 4, 6),
        };
        block[64 * part + low] |= (value(w) & 15) << nibble;
        block[128 + 32 * part + l] |= (value(w) >> 4) << high;
    }
    for s in 0..16 {
        block[192 + s] = (s as i8 - 7) as u8;
    }
    block[208..].copy_from_slice(&half(0.5));
    let expected = (0..256).map(|w| 0.5 * (w as i32 / 16 - 7) as f32 * (i32::from(value(w)) - 32) as f32);
    assert_eq!(GgmlType::Q6K.dequantise(&block), expected.collect::<Vec<_>>());
}

#[test]
fn other_types_are_refused_by_name() {
    for (code, name) in [(12, "Q4_K"), (6, "Q5_0"), (28, "F64"), (39, "MXFP4"), (4, "number 4"), (99, "number 99")] {
        let message = GgmlType::from_code(code).unwrap_err();
        assert!(message.starts_with(&format!("type {name} is not supported")), "{message}");
    }
}
