//! Processes that train one adapter side by side, each on its share of every batch.
//!
//! They need nothing of each other but that bytes are exchanged; what carries them is the caller's.

use std::fmt::Debug;
use std::ops::Range;

use crate::error::Error;
use crate::real::Real;

/// The other processes. All make the same calls in the same order.
pub trait Peers: Debug + Send {
    /// This process's number, from 0.
    fn index(&self) -> usize;

    /// The number of processes.
    fn count(&self) -> usize;

    /// What every process gives, in the order of their numbers.
    ///
    /// # Errors
    /// A process is lost.
    fn gather(&mut self, own: Vec<u8>) -> Result<Vec<Vec<u8>>, Error>;

    /// Ends the work together with the others. Where it is not called, they take this process to be lost.
    ///
    /// # Errors
    /// A process is lost.
    fn leave(self: Box<Self>) -> Result<(), Error>;
}

/// No other process.
#[derive(Clone, Copy, Debug)]
pub struct Alone;

impl Peers for Alone {
    fn index(&self) -> usize {
        0
    }

    fn count(&self) -> usize {
        1
    }

    fn gather(&mut self, own: Vec<u8>) -> Result<Vec<Vec<u8>>, Error> {
        Ok(vec![own])
    }

    fn leave(self: Box<Self>) -> Result<(), Error> {
        Ok(())
    }
}

/// The share of this process in so many items: whole ones, as even as can be.
pub fn share(peers: &dyn Peers, items: usize) -> Range<usize> {
    let (index, count) = (peers.index(), peers.count());
    index * items / count..(index + 1) * items / count
}

/// Adds up the values of all processes, in the order of their numbers: each gets the same bits.
///
/// # Errors
/// A process is lost, or gives another number of values.
pub fn sum<F: Real>(peers: &mut dyn Peers, values: &mut [F]) -> Result<(), Error> {
    let parts = gather(peers, values)?;
    if parts.iter().any(|part| part.len() != values.len()) {
        return Err(Error::field("peers", "processes disagree on how many values there are to add up"));
    }
    values.fill(F::ZERO);
    for part in parts {
        values.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
    }
    Ok(())
}

/// The values of every process, in the order of their numbers.
///
/// # Errors
/// A process is lost.
pub fn gather<F: Real>(peers: &mut dyn Peers, values: &[F]) -> Result<Vec<Vec<F>>, Error> {
    let mut bytes = Vec::with_capacity(size_of_val(values));
    values.iter().for_each(|value| value.write_le(&mut bytes));
    let read = |bytes: Vec<u8>| bytes.chunks_exact(size_of::<F>()).filter_map(F::from_le).collect();
    Ok(peers.gather(bytes)?.into_iter().map(read).collect())
}

/// What the first process gives; what others give is not looked at.
///
/// # Errors
/// A process is lost.
pub fn of_first(peers: &mut dyn Peers, own: Vec<u8>) -> Result<Vec<u8>, Error> {
    let given = if peers.index() == 0 { own } else { Vec::new() };
    Ok(peers.gather(given)?.into_iter().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Fake(usize, Vec<Vec<u8>>);

    impl Peers for Fake {
        fn index(&self) -> usize {
            self.0
        }

        fn count(&self) -> usize {
            self.1.len()
        }

        fn gather(&mut self, own: Vec<u8>) -> Result<Vec<Vec<u8>>, Error> {
            self.1[self.0] = own;
            Ok(self.1.clone())
        }

        fn leave(self: Box<Self>) -> Result<(), Error> {
            Ok(())
        }
    }

    #[test]
    fn shares_are_even_and_leave_nothing_out() {
        for (items, count) in [(0, 1), (7, 1), (7, 3), (2, 5), (64, 8)] {
            let shares: Vec<_> = (0..count).map(|index| share(&Fake(index, vec![vec![]; count]), items)).collect();
            let (least, most) = (items / count, items.div_ceil(count));
            assert!(
                shares.iter().all(|share| (least..=most).contains(&share.len())),
                "{items} for {count}: {shares:?}"
            );
            assert_eq!(shares.into_iter().flatten().collect::<Vec<_>>(), (0..items).collect::<Vec<_>>());
        }
    }

    #[test]
    fn sums_are_of_all_and_need_as_many_values_of_each() {
        let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        let mut peers = Fake(1, vec![bytes(&[1.0, 2.0]), vec![], bytes(&[0.5, -2.0])]);
        let mut values = [10.0_f32, 20.0];
        sum(&mut peers, &mut values).unwrap();
        assert_eq!(values, [11.5, 20.0]);
        let error = sum(&mut peers, &mut [1.0_f32; 3]).unwrap_err().to_string();
        assert!(error.contains("disagree"), "{error}");
    }
}
