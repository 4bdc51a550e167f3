//! The random numbers of Python's `random` module: a seed draws here what it draws there.
//!
//! The generator is MT19937 (Matsumoto and Nishimura 1998), seeded by its `init_by_array` with the seed as the only key.

use std::f64::consts::TAU;

const SIZE: usize = 624;
const SHIFT: usize = 397;

/// A seeded generator.
pub struct Random {
    state: [u32; SIZE],
    used: usize,
    /// The second one of the last pair of normal numbers.
    spare: Option<f64>,
}

impl Random {
    /// Python's `Random(seed)`.
    pub fn new(seed: u32) -> Self {
        let mut state = [19_650_218; SIZE];
        for at in 1..SIZE {
            state[at] = folded(state[at - 1]).wrapping_mul(1_812_433_253).wrapping_add(at as u32);
        }
        let mut at = 1;
        for step in 0..2 * SIZE - 1 {
            let last = folded(state[at - 1]);
            state[at] = match step < SIZE {
                true => (state[at] ^ last.wrapping_mul(1_664_525)).wrapping_add(seed),
                false => (state[at] ^ last.wrapping_mul(1_566_083_941)).wrapping_sub(at as u32),
            };
            at += 1;
            if at == SIZE {
                state[0] = state[SIZE - 1];
                at = 1;
            }
        }
        state[0] = 1 << 31;
        Self { state, used: SIZE, spare: None }
    }

    fn refill(&mut self) {
        for at in 0..SIZE {
            let joined = self.state[at] & (1 << 31) | self.state[(at + 1) % SIZE] & !(1 << 31);
            let twisted = (joined >> 1) ^ ((joined & 1) * 0x9908_b0df);
            self.state[at] = self.state[(at + SHIFT) % SIZE] ^ twisted;
        }
        self.used = 0;
    }

    fn bits(&mut self) -> u32 {
        if self.used == SIZE {
            self.refill();
        }
        let mut bits = self.state[self.used];
        self.used += 1;
        bits ^= bits >> 11;
        bits ^= bits << 7 & 0x9d2c_5680;
        bits ^= bits << 15 & 0xefc6_0000;
        bits ^ bits >> 18
    }

    /// Python's `random()`: 0 or more and less than 1, of 53 bits.
    fn unit(&mut self) -> f64 {
        let (high, low) = (self.bits() >> 5, self.bits() >> 6);
        (f64::from(high) * f64::from(1 << 26) + f64::from(low)) / (1u64 << 53) as f64
    }

    /// Python's `gauss(0, 1)`.
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let angle = self.unit() * TAU;
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        self.spare = Some(angle.sin() * radius);
        angle.cos() * radius
    }

    /// The index that Python's `choice` draws of `count` items, of which there is at least one.
    pub fn index(&mut self, count: usize) -> usize {
        let unused = (count as u32).leading_zeros();
        loop {
            let index = (self.bits() >> unused) as usize;
            if index < count {
                return index;
            }
        }
    }
}

fn folded(word: u32) -> u32 {
    word ^ word >> 30
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `r = random.Random(0)` of Python 3 gives.
    #[test]
    fn the_numbers_are_those_of_python() {
        let mut random = Random::new(0);
        assert_eq!([random.unit(), random.unit()], [0.8444218515250481, 0.7579544029403025]);
        assert_eq!(
            [random.normal(), random.normal(), random.normal()],
            [-0.6797144480784211, 0.3705035674606598, -1.016348894188071]
        );
        assert_eq!([10, 1000, 3, 1, 1 << 20].map(|count| random.index(count)), [4, 991, 1, 0, 458_107]);
    }
}
