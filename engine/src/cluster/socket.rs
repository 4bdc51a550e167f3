//! A connection that remembers which process was lost.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, OnceLock};

use timely::communication::allocator::zero_copy::stream::Stream;

/// The first process whose connection ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Lost(Arc<OnceLock<usize>>);

impl Lost {
    pub(super) fn first(&self) -> Option<usize> {
        self.0.get().copied()
    }
}

/// A connection to a process.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    remote: usize,
    lost: Lost,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, remote: usize, lost: &Lost) -> Self {
        Self { stream, remote, lost: lost.clone() }
    }

    /// A connection that ends is a process that is lost, unless the work was over.
    fn ended<T>(&self, result: io::Result<T>, over: impl Fn(&T) -> bool) -> io::Result<T> {
        if result.as_ref().map_or_else(|error| error.kind() != io::ErrorKind::Interrupted, over) {
            // The first one is kept.
            let _ = self.lost.0.set(self.remote);
        }
        result
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer);
        self.ended(read, |count| *count == 0)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.stream.write(bytes);
        self.ended(written, |_| false)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Stream for Socket {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { stream: self.stream.try_clone()?, remote: self.remote, lost: self.lost.clone() })
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.stream.set_nonblocking(nonblocking)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.stream.shutdown(how)
    }
}
