//! Reads a file that is gone through in several places at once, each from front to back: more than was asked for is read where
//! that goes on.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::spool::Extent;

/// Bytes that are read at once where reading goes on.
const AHEAD: u64 = 1 << 15;
/// Places that are remembered.
const PLACES: usize = 16;

/// What was read last, in several places.
#[derive(Default)]
pub(super) struct Ahead {
    parts: Vec<Part>,
    /// The part that is given up next.
    oldest: usize,
}

#[derive(Default)]
struct Part {
    at: u64,
    bytes: Vec<u8>,
}

impl Part {
    fn end(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }

    fn load(&mut self, file: &File, at: u64, length: u64) -> io::Result<()> {
        self.bytes.resize(length as usize, 0);
        self.at = at;
        file.read_exact_at(&mut self.bytes, at)
    }
}

impl Ahead {
    /// The bytes there, of a file of such a length. Many at once are not remembered.
    pub(super) fn get(&mut self, file: &File, length: u64, extent: Extent) -> io::Result<Vec<u8>> {
        if u64::from(extent.length) > AHEAD {
            let mut bytes = vec![0; extent.length as usize];
            return file.read_exact_at(&mut bytes, extent.at).map(|()| bytes);
        }
        let (at, end) = (extent.at, extent.at + u64::from(extent.length));
        let index = match self.parts.iter().position(|part| part.at <= at && end <= part.end()) {
            Some(index) => index,
            None => self.load(file, length, extent)?,
        };
        let part = &self.parts[index];
        Ok(part.bytes[(at - part.at) as usize..(end - part.at) as usize].to_vec())
    }

    fn load(&mut self, file: &File, length: u64, extent: Extent) -> io::Result<usize> {
        let own = u64::from(extent.length);
        let goes_on = |part: &Part| part.at <= extent.at && extent.at <= part.end() + AHEAD;
        if let Some(index) = self.parts.iter().position(goes_on) {
            self.parts[index].load(file, extent.at, AHEAD.min(length - extent.at))?;
            return Ok(index);
        }
        if self.parts.len() < PLACES {
            self.parts.push(Part::default());
        }
        self.oldest = (self.oldest + 1) % self.parts.len();
        self.parts[self.oldest].load(file, extent.at, own)?;
        Ok(self.oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_are_found_from_front_to_back_and_in_disorder() {
        let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n * 7 % 251) as u8).collect();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        let (mut ahead, length) = (Ahead::default(), bytes.len() as u64);
        let mut check = |at: usize, long: usize| {
            let extent = Extent { at: at as u64, length: long as u32 };
            assert_eq!(ahead.get(&file, length, extent).unwrap(), &bytes[at..at + long], "{at} {long}");
        };
        (0..1500).for_each(|n| check(n * 199, 199));
        (0..900).for_each(|n| check(n * 9973 % 290_000, n * 31 % 5000));
        (0..100).for_each(|n| (0..3).for_each(|part| check(part * 100_000 + n * 900, 900)));
        check(0, 300_000);
    }
}
