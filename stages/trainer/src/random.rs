//! Random numbers that are the same everywhere.

/// Steele, Lea and Flood's SplitMix64 (OOPSLA 2014): enough for initial values and orders.
#[derive(Clone, Debug)]
pub struct SplitMix64(pub u64);

impl SplitMix64 {
    /// Stream number `index` of a seed: what one stream draws does not depend on the others.
    pub fn stream(seed: u64, index: u64) -> Self {
        Self(Self(seed).next_bits() ^ index.wrapping_mul(0xd134_2543_de82_ef95))
    }

    /// The next 64 bits.
    pub fn next_bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.next_bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform below `count`, which is positive; the bias of the remainder is below 2⁻³² for all that fits memory.
    pub fn below(&mut self, count: usize) -> usize {
        (self.next_bits() % count as u64) as usize
    }

    /// Puts elements into a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, elements: &mut [T]) {
        for last in (1..elements.len()).rev() {
            let other = self.below(last + 1);
            elements.swap(last, other);
        }
    }
}
