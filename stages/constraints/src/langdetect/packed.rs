//! Reads the profiles in the form that `data/pack.py` writes.

use super::gram::{Gram, longer};

/// What is left to read.
pub struct Bytes<'b>(pub &'b [u8]);

impl<'b> Bytes<'b> {
    /// One byte.
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A number in seven bits a byte, the lowest first.
    pub fn number(&mut self) -> Option<u32> {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.byte()?;
            number |= u32::from(byte & 127).checked_shl(shift)?;
            shift += 7;
            if byte < 128 {
                return Some(number);
            }
        }
    }

    /// The lines before the next empty one.
    pub fn lines(&mut self) -> Option<Vec<&'b str>> {
        let end = self.0.windows(2).position(|pair| pair == b"\n\n")?;
        let (lines, rest) = self.0.split_at(end);
        self.0 = &rest[2..];
        Some(std::str::from_utf8(lines).ok()?.lines().collect())
    }

    fn char(&mut self) -> Option<char> {
        let length = match self.0.first()? {
            0..0x80 => 1,
            0x80..0xe0 => 2,
            0xe0..0xf0 => 3,
            _ => 4,
        };
        let (char, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(char).ok()?.chars().next()
    }

    /// The n-grams with their lengths, each written as what differs from the one before.
    pub fn grams(&mut self) -> Option<Vec<(Gram, usize)>> {
        let (mut grams, mut chars) = (Vec::new(), Vec::new());
        for _ in 0..self.number()? {
            let head = usize::from(self.byte()?);
            chars.truncate(head >> 2);
            while chars.len() < head & 3 {
                chars.push(self.char()?);
            }
            grams.push((chars.iter().fold(0, |gram, next| longer(gram, *next)), chars.len()));
        }
        Some(grams)
    }
}
