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

    /// Gives each process its part, and returns what each gave this one; both in the order of their numbers.
    ///
    /// # Errors
    /// A process is lost.
    fn exchange(&mut self, parts: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, Error>;

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

    fn exchange(&mut self, parts: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, Error> {
        Ok(parts)
    }

    fn leave(self: Box<Self>) -> Result<(), Error> {
        Ok(())
    }
}

/// The share of a process in so many items: whole ones, as even as can be.
pub fn share_of(index: usize, count: usize, items: usize) -> Range<usize> {
    index * items / count..(index + 1) * items / count
}

/// The share of this process.
pub fn share(peers: &dyn Peers, items: usize) -> Range<usize> {
    share_of(peers.index(), peers.count(), items)
}

/// What every process gives to all, in the order of their numbers.
///
/// # Errors
/// A process is lost.
pub fn gather(peers: &mut dyn Peers, own: Vec<u8>) -> Result<Vec<Vec<u8>>, Error> {
    peers.exchange(vec![own; peers.count()])
}

/// Adds up the values of all processes, in the order of their numbers: each gets the same bits. A process adds up its share of
/// them, so that none receives more than twice what it has.
///
/// # Errors
/// A process is lost, or gives another number of values.
pub fn sum<F: Real>(peers: &mut dyn Peers, values: &mut [F]) -> Result<(), Error> {
    let shares: Vec<_> = (0..peers.count()).map(|index| share_of(index, peers.count(), values.len())).collect();
    let parts = peers.exchange(shares.iter().map(|share| to_bytes(&values[share.clone()])).collect())?;
    let mut sums = vec![F::ZERO; shares[peers.index()].len()];
    for part in &parts {
        check_len(part.len(), size_of_val(&*sums))?;
        sums.iter_mut().zip(from_bytes(part)).for_each(|(sum, value)| *sum += value);
    }
    for (share, sums) in shares.into_iter().zip(gather(peers, to_bytes(&sums))?) {
        check_len(sums.len(), share.len() * size_of::<F>())?;
        values[share].iter_mut().zip(from_bytes(&sums)).for_each(|(value, sum)| *value = sum);
    }
    Ok(())
}

fn check_len(found: usize, expected: usize) -> Result<(), Error> {
    if found == expected {
        return Ok(());
    }
    Err(Error::Peers("processes disagree on how many values there are to add up".into()))
}

fn to_bytes<F: Real>(values: &[F]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size_of_val(values));
    values.iter().for_each(|value| value.write_le(&mut bytes));
    bytes
}

fn from_bytes<F: Real>(bytes: &[u8]) -> impl Iterator<Item = F> {
    bytes.chunks_exact(size_of::<F>()).filter_map(F::from_le)
}

/// The values of every process, one after the other.
///
/// # Errors
/// A process is lost.
pub fn gather_values<F: Real>(peers: &mut dyn Peers, own: &[F]) -> Result<Vec<F>, Error> {
    Ok(gather(peers, to_bytes(own))?.iter().flat_map(|part| from_bytes(part)).collect())
}

/// What the first process gives; what others give is not looked at.
///
/// # Errors
/// A process is lost.
pub fn of_first(peers: &mut dyn Peers, own: Vec<u8>) -> Result<Vec<u8>, Error> {
    let given = if peers.index() == 0 { own } else { Vec::new() };
    Ok(gather(peers, given)?.into_iter().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A process that is a thread: what it sends to each, and what each sends to it.
    #[derive(Debug)]
    struct Beside(usize, Vec<Sender<Vec<u8>>>, Vec<Receiver<Vec<u8>>>);

    impl Peers for Beside {
        fn index(&self) -> usize {
            self.0
        }

        fn count(&self) -> usize {
            self.1.len()
        }

        fn exchange(&mut self, parts: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, Error> {
            self.1.iter().zip(parts).for_each(|(to, part)| to.send(part).unwrap());
            Ok(self.2.iter().map(|from| from.recv().unwrap()).collect())
        }

        fn leave(self: Box<Self>) -> Result<(), Error> {
            Ok(())
        }
    }

    /// What each of so many processes makes of its number and its peers.
    fn all<T: Send>(count: usize, work: impl Fn(usize, &mut dyn Peers) -> T + Sync) -> Vec<T> {
        let mut senders: Vec<Vec<_>> = (0..count).map(|_| Vec::new()).collect();
        let receivers = (0..count).map(|_| {
            let (to_one, of_one): (Vec<_>, Vec<_>) = (0..count).map(|_| channel()).unzip();
            senders.iter_mut().zip(to_one).for_each(|(senders, sender)| senders.push(sender));
            of_one
        });
        let receivers: Vec<Vec<_>> = receivers.collect();
        std::thread::scope(|scope| {
            let parts = senders.into_iter().zip(receivers).enumerate();
            let start = |(index, (senders, receivers))| {
                let work = &work;
                scope.spawn(move || work(index, &mut Beside(index, senders, receivers)))
            };
            let threads: Vec<_> = parts.map(start).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    #[test]
    fn shares_are_even_and_leave_nothing_out() {
        for (items, count) in [(0, 1), (7, 1), (7, 3), (2, 5), (64, 8)] {
            let shares: Vec<_> = (0..count).map(|index| share_of(index, count, items)).collect();
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
        for (count, values) in [(1, 5), (2, 1), (3, 7), (4, 2)] {
            let own = |index: usize| (0..values).map(|at| (index * 10 + at) as f32).collect::<Vec<_>>();
            let expected: Vec<f32> = (0..values).map(|at| (0..count).map(|index| own(index)[at]).sum()).collect();
            let sums = all(count, |index, peers| {
                let mut values = own(index);
                sum(peers, &mut values).unwrap();
                values
            });
            assert!(sums.iter().all(|sums| *sums == expected), "{values} values of {count}: {sums:?}");
        }
        let errors = all(2, |index, peers| sum(peers, &mut vec![1.0_f32; 4 + 4 * index]).unwrap_err().to_string());
        assert!(errors.iter().all(|error| error.contains("disagree")), "{errors:?}");
    }

    #[test]
    fn the_first_is_heard_by_all() {
        assert_eq!(all(3, |index, peers| of_first(peers, vec![index as u8; 2]).unwrap()), [[0; 2]; 3]);
    }
}
