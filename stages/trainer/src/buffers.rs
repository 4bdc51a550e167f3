//! Working memory that is used again: a pass takes what the one before it gave back, so that training at a steady pace
//! asks the system for none.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::real::Real;

/// Spare memory by the width of the rows that it was taken for. It holds at most what was in use at once, at the
/// greatest number of rows. Clones share it.
#[derive(Clone, Debug)]
pub struct Buffers<F> {
    shelf: Arc<Mutex<Shelf<F>>>,
}

#[derive(Debug)]
struct Shelf<F> {
    spare: BTreeMap<usize, Vec<Vec<F>>>,
    /// Bytes asked of the system so far.
    asked: usize,
}

/// Rows of values, given back when dropped.
#[derive(Debug)]
pub struct Buffer<F> {
    values: Vec<F>,
    width: usize,
    home: Buffers<F>,
}

impl<F> Default for Buffers<F> {
    fn default() -> Self {
        Self { shelf: Arc::new(Mutex::new(Shelf { spare: BTreeMap::new(), asked: 0 })) }
    }
}

impl<F: Real> Buffers<F> {
    /// `rows · width` values, of which none can be relied on: what they held before is still there.
    pub fn take(&self, rows: usize, width: usize) -> Buffer<F> {
        let (mut shelf, len) = (self.shelf(), rows * width);
        let mut values = shelf.spare.get_mut(&width).and_then(Vec::pop).unwrap_or_default();
        if values.capacity() < len {
            values = Vec::with_capacity(len);
            shelf.asked += len * size_of::<F>();
        }
        drop(shelf);
        values.resize(len, F::ZERO);
        Buffer { values, width, home: self.clone() }
    }

    /// `rows · width` zeros.
    pub fn zeros(&self, rows: usize, width: usize) -> Buffer<F> {
        let mut buffer = self.take(rows, width);
        buffer.fill(F::ZERO);
        buffer
    }
}

impl<F> Buffers<F> {
    fn shelf(&self) -> MutexGuard<'_, Shelf<F>> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes asked of the system so far.
    pub fn asked(&self) -> usize {
        self.shelf().asked
    }
}

impl<F> Drop for Buffer<F> {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        self.home.shelf().spare.entry(self.width).or_default().push(values);
    }
}

impl<F> Deref for Buffer<F> {
    type Target = [F];

    fn deref(&self) -> &[F] {
        &self.values
    }
}

impl<F> DerefMut for Buffer<F> {
    fn deref_mut(&mut self) -> &mut [F] {
        &mut self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_taken_again() {
        let buffers = Buffers::<f32>::default();
        let mut first = buffers.take(3, 4);
        first.fill(7.0);
        let at = first.as_ptr();
        drop(first);
        let again = buffers.take(2, 4);
        assert_eq!((again.as_ptr(), again.len(), again[0]), (at, 8, 7.0));
        drop(again);
        assert!(buffers.zeros(3, 4).iter().all(|value| *value == 0.0));
        let _other_width = buffers.take(1, 3);
        assert_eq!(buffers.asked(), (12 + 3) * 4);
    }
}
