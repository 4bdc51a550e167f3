//! Makes batches of a stream, and mixes earlier elements into them: a stream that comes by once is then not forgotten
//! as soon. What comes out is a function of the seed and of the elements in their order, so a sequence that is told
//! again from its beginning makes the same batches.

use obvert_trainer::random::SplitMix64;

/// What is trained on at once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch<T> {
    /// Elements that come for the first time.
    pub new: Vec<T>,
    /// Elements that were new in earlier batches, each at most once.
    pub again: Vec<T>,
}

/// The elements of the next batch, and those kept of earlier ones: a uniform sample of all of them (reservoir sampling).
#[derive(Clone, Debug)]
pub struct Replay<T> {
    new: Vec<T>,
    kept: Vec<T>,
    /// Elements of earlier batches.
    seen: usize,
    size: usize,
    share: usize,
    capacity: usize,
    random: SplitMix64,
}

impl<T: Clone> Replay<T> {
    /// Batches of `size` elements, of which `share` are drawn from at most `capacity` that are kept of earlier batches;
    /// while fewer are kept, more are new.
    pub fn new(size: usize, share: usize, capacity: usize, seed: u64) -> Self {
        let random = SplitMix64::stream(seed, 1);
        Replay { new: Vec::new(), kept: Vec::new(), seen: 0, size, share, capacity, random }
    }

    /// Takes a new element in; once there are enough for a batch, it comes out.
    pub fn push(&mut self, element: T) -> Option<Batch<T>> {
        self.new.push(element);
        let again = self.share.min(self.kept.len());
        (self.new.len() + again >= self.size).then(|| self.batch(again))
    }

    /// The new elements that do not fill a batch.
    pub fn rest(&mut self) -> Option<Batch<T>> {
        (!self.new.is_empty()).then(|| self.batch(0))
    }

    /// Drops what must not come again.
    pub fn forget(&mut self, is: impl Fn(&T) -> bool) {
        self.kept.retain(|element| !is(element));
    }

    fn batch(&mut self, again: usize) -> Batch<T> {
        let (new, again) = (std::mem::take(&mut self.new), self.draw(again));
        new.iter().for_each(|element| self.keep(element.clone()));
        Batch { new, again }
    }

    /// Draws elements without putting them back.
    fn draw(&mut self, count: usize) -> Vec<T> {
        for at in 0..count {
            let other = at + self.random.below(self.kept.len() - at);
            self.kept.swap(at, other);
        }
        self.kept.iter().take(count).cloned().collect()
    }

    fn keep(&mut self, element: T) {
        self.seen += 1;
        if self.kept.len() < self.capacity {
            self.kept.push(element);
        } else if let Some(place) = self.kept.get_mut(self.random.below(self.seen)) {
            *place = element;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(share: usize, capacity: usize, count: u32) -> Vec<Batch<u32>> {
        let mut replay = Replay::new(8, share, capacity, 3);
        let mut batches: Vec<_> = (0..count).filter_map(|n| replay.push(n)).collect();
        batches.extend(replay.rest());
        batches
    }

    #[test]
    fn every_element_is_new_once_and_a_share_of_a_batch_came_before() {
        let batches = batches(2, 20, 100);
        let new: Vec<u32> = batches.iter().flat_map(|batch| batch.new.clone()).collect();
        assert_eq!(new, (0..100).collect::<Vec<_>>());
        assert_eq!((batches[0].new.len(), batches[0].again.len()), (8, 0));
        let (last, whole) = batches[1..].split_last().unwrap();
        assert_eq!((last.new.len(), last.again.len()), (2, 0));
        for batch in whole {
            assert_eq!((batch.new.len(), batch.again.len()), (6, 2));
            assert!(batch.again.iter().all(|n| *n < batch.new[0]) && batch.again[0] != batch.again[1], "{batch:?}");
        }
        assert_eq!(batches, self::batches(2, 20, 100));
    }

    #[test]
    fn without_a_share_the_stream_is_cut_into_batches() {
        let expected: Vec<Vec<u32>> = (0..20).collect::<Vec<_>>().chunks(8).map(<[u32]>::to_vec).collect();
        assert!(batches(0, 0, 20).into_iter().map(|batch| batch.new).eq(expected));
    }

    /// Early elements are drawn as often as later ones, and memory is bounded.
    #[test]
    fn what_is_kept_is_a_uniform_sample() {
        let mut early = 0;
        for seed in 0..200 {
            let mut replay = Replay::new(10, 0, 50, seed);
            (0..1000).for_each(|n| drop(replay.push(n)));
            assert_eq!(replay.kept.len(), 50);
            early += replay.kept.iter().filter(|n| **n < 500).count();
        }
        let share = early as f64 / (200.0 * 50.0);
        assert!((share - 0.5).abs() < 0.03, "{share} are of the first half");
    }

    #[test]
    fn what_was_withdrawn_does_not_come_again() {
        let mut replay = Replay::new(4, 2, 100, 1);
        (0..8).for_each(|n| drop(replay.push(n)));
        replay.forget(|n| *n < 6);
        let again: Vec<u32> = (8..40).filter_map(|n| replay.push(n)).flat_map(|batch| batch.again).collect();
        assert!(!again.is_empty() && again.iter().all(|n| *n >= 6), "{again:?}");
    }
}
