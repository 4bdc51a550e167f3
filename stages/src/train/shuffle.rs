//! Draws at random from a window of a stream, from a seed: neighbours in the stream (the pairs of one turn) are spread
//! over many updates, and the order is still the same in every run.

use obvert_trainer::random::SplitMix64;

/// The window.
#[derive(Clone, Debug)]
pub struct Shuffle<T> {
    window: Vec<T>,
    size: usize,
    random: SplitMix64,
}

impl<T> Shuffle<T> {
    /// A window of `size` elements; 0 and 1 leave the order as it is.
    pub fn new(size: usize, seed: u64) -> Self {
        Shuffle { window: Vec::new(), size: size.max(1), random: SplitMix64(seed) }
    }

    /// Takes an element in; once the window is full, one comes out.
    pub fn push(&mut self, element: T) -> Option<T> {
        self.window.push(element);
        (self.window.len() >= self.size).then(|| self.draw())
    }

    /// What is left comes out.
    pub fn pop(&mut self) -> Option<T> {
        (!self.window.is_empty()).then(|| self.draw())
    }

    fn draw(&mut self) -> T {
        let index = self.random.below(self.window.len());
        if self.size == 1 { self.window.remove(0) } else { self.window.swap_remove(index) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(size: usize, seed: u64) -> Vec<u32> {
        let mut shuffle = Shuffle::new(size, seed);
        let mut out: Vec<u32> = (0..100).filter_map(|n| shuffle.push(n)).collect();
        out.extend(std::iter::from_fn(|| shuffle.pop()));
        out
    }

    #[test]
    fn nothing_is_lost_and_the_seed_decides() {
        for size in [0, 1, 2, 30, 100, 1000] {
            let mut sorted = order(size, 7);
            sorted.sort_unstable();
            assert_eq!(sorted, (0..100).collect::<Vec<_>>());
            assert_eq!(order(size, 7), order(size, 7));
        }
        assert_eq!(order(1, 7), (0..100).collect::<Vec<_>>());
        assert_ne!(order(30, 7), order(30, 8));
    }
}
