//! Messages between the program and the process of a stage.

use std::io::{self, BufRead, Read, Write};

/// No message is longer (bytes): a damaged length must not be believed.
const LONGEST: u64 = 1 << 30;

/// No line is longer (bytes): it is of one item, or of what a program is asked first.
const LONGEST_LINE: u64 = (super::answers::MOST as u64) + (1 << 20);

/// How messages are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// By a length (u32, little-endian) in front of each.
    Lengths,
    /// By the ends of lines.
    Lines,
}

impl Framing {
    /// Sends one message; `to` is flushed.
    pub(super) fn send(self, to: &mut impl Write, message: &[u8]) -> io::Result<()> {
        match self {
            Framing::Lengths => {
                let length = u32::try_from(message.len()).ok().filter(|length| u64::from(*length) <= LONGEST);
                let length = length.ok_or_else(|| too_long(message.len()))?;
                to.write_all(&length.to_le_bytes())?;
                to.write_all(message)?;
            }
            Framing::Lines => {
                to.write_all(message)?;
                to.write_all(b"\n")?;
            }
        }
        to.flush()
    }

    /// The next message; none at the end.
    pub(super) fn receive(self, from: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
        match self {
            Framing::Lengths => receive_counted(from),
            Framing::Lines => receive_line(from),
        }
    }
}

fn receive_counted(from: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read(&mut length[..1])? {
        0 => return Ok(None),
        _ => from.read_exact(&mut length[1..])?,
    }
    let length = u32::from_le_bytes(length);
    if u64::from(length) > LONGEST {
        return Err(too_long(length));
    }
    let mut message = vec![0; length as usize];
    from.read_exact(&mut message)?;
    Ok(Some(message))
}

fn receive_line(from: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    from.take(LONGEST_LINE + 1).read_until(b'\n', &mut line)?;
    if line.len() as u64 > LONGEST_LINE {
        return Err(too_long(format!("more than {LONGEST_LINE}")));
    }
    // What stands behind the last end of a line was cut off.
    Ok(line.pop_if(|byte| *byte == b'\n').map(|_| line))
}

fn too_long(length: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("a message of {length} bytes is too long"))
}
