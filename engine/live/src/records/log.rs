//! Writes the records of a stage down.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use obvert_engine::Observer;

use super::{FILES, HEAD, Head, MOST, Name, folder};
use crate::board::now;

/// The log of one stage.
pub struct Log {
    folder: PathBuf,
    name: String,
    writing: Mutex<Writing>,
}

struct Writing {
    /// None once it could not be written to.
    file: Option<BufWriter<File>>,
    number: u64,
    bytes: u64,
}

impl Log {
    /// An empty one, of the run in a folder.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn begin(out: &Path, name: &Name) -> io::Result<Self> {
        let (folder, name) = (folder(out), name.to_string());
        fs::create_dir_all(&folder)?;
        let file = Some(BufWriter::new(File::create(path(&folder, &name, 0))?));
        let writing = Mutex::new(Writing { file, number: 0, bytes: 0 });
        Ok(Log { folder, name, writing })
    }

    /// Lets readers see all that was written.
    pub fn flush(&self) {
        let mut writing = self.writing();
        let flushed = writing.file.as_mut().map_or(Ok(()), BufWriter::flush);
        self.give_up_on(flushed, &mut writing);
    }

    fn write(&self, writing: &mut Writing, record: &[u8], copies: i32) -> io::Result<()> {
        if writing.bytes >= MOST {
            self.next_file(writing)?;
        }
        let Some(file) = &mut writing.file else { return Ok(()) };
        let bytes = u32::try_from(record.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        file.write_all(&Head { bytes, copies, at_ms: (now() * 1e3) as u64 }.encode())?;
        file.write_all(record)?;
        writing.bytes += (HEAD + record.len()) as u64;
        Ok(())
    }

    fn next_file(&self, writing: &mut Writing) -> io::Result<()> {
        writing.file.as_mut().map_or(Ok(()), BufWriter::flush)?;
        (writing.number, writing.bytes) = (writing.number + 1, 0);
        writing.file = Some(BufWriter::new(File::create(path(&self.folder, &self.name, writing.number))?));
        match writing.number.checked_sub(FILES) {
            Some(oldest) => fs::remove_file(path(&self.folder, &self.name, oldest)),
            None => Ok(()),
        }
    }

    /// The run does not depend on it.
    fn give_up_on(&self, written: io::Result<()>, writing: &mut Writing) {
        if let Err(error) = written {
            tracing::warn!(log = self.name, %error, "its records are not shown any more");
            writing.file = None;
        }
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Log {
    fn looks(&self) -> bool {
        true
    }

    fn see(&self, record: &[u8], copies: isize) {
        let mut writing = self.writing();
        let copies = copies.clamp(i32::MIN as isize, i32::MAX as isize) as i32;
        let written = self.write(&mut writing, record, copies);
        self.give_up_on(written, &mut writing);
    }
}

pub(super) fn path(folder: &Path, name: &str, number: u64) -> PathBuf {
    folder.join(format!("{name}.{number}"))
}
