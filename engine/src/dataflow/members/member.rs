//! A member of a group as it lies in memory and on disk.

use std::io;

use crate::dataflow::item::{Item, Place};

/// A record, with its copies: not 0, and below it where a withdrawal has come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Member<'a> {
    pub(super) place: Place,
    pub(super) bytes: &'a [u8],
    pub(super) copies: i64,
}

impl<'a> Member<'a> {
    pub(super) fn of(item: &'a Item, copies: isize) -> Self {
        Member { place: item.place, bytes: &item.bytes.0, copies: copies as i64 }
    }

    /// Bytes before the record's own.
    const HEAD: usize = 24;

    /// Bytes that it takes.
    pub(super) fn size(&self) -> usize {
        Self::HEAD + self.bytes.len()
    }

    pub(super) fn write(&self, to: &mut Vec<u8>) {
        to.reserve(self.size());
        to.extend_from_slice(&self.place.root.to_le_bytes());
        to.extend_from_slice(&self.place.lap.to_le_bytes());
        to.extend_from_slice(&self.copies.to_le_bytes());
        to.extend_from_slice(&(self.bytes.len() as u32).to_le_bytes());
        to.extend_from_slice(self.bytes);
    }

    /// The member at the beginning of `left`, which is behind it then.
    pub(super) fn read(left: &mut &'a [u8]) -> io::Result<Self> {
        let place = Place { root: u64::from_le_bytes(number(left)?), lap: u32::from_le_bytes(number(left)?) };
        let copies = i64::from_le_bytes(number(left)?);
        let length = u32::from_le_bytes(number(left)?);
        let (bytes, behind) = left.split_at_checked(length as usize).ok_or_else(damaged)?;
        *left = behind;
        Ok(Member { place, bytes, copies })
    }
}

/// The bytes of a number at the beginning of `left`, which is behind it then.
pub(super) fn number<const N: usize>(left: &mut &[u8]) -> io::Result<[u8; N]> {
    let (number, behind) = left.split_first_chunk().ok_or_else(damaged)?;
    *left = behind;
    Ok(*number)
}

fn damaged() -> io::Error {
    io::Error::other("members are damaged")
}

/// Members in their own order, each once.
pub(super) fn net(mut members: Vec<Member<'_>>) -> Vec<Member<'_>> {
    if members.len() > 1 {
        members.sort_unstable();
    }
    members.dedup_by(|next, member| {
        let same = (next.place, next.bytes) == (member.place, member.bytes);
        if same {
            member.copies += next.copies;
        }
        same
    });
    members.retain(|member| member.copies != 0);
    members
}
