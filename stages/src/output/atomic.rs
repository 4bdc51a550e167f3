//! Replaces a file as a whole: a reader sees the old one or the new one, never half of one.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::Error;

/// What a file's content is written to.
pub(crate) type Out = BufWriter<File>;

/// Writes `path` by way of a temporary file in the same folder, which is created if it is missing.
///
/// The temporary name is fixed, so what a killed process left is overwritten by the next; two processes must not
/// write the same path at once.
pub(crate) fn write(path: &Path, content: impl FnOnce(&mut Out) -> Result<(), Error>) -> Result<(), Error> {
    write_by_way_of(&temporary_for(path), path, content)
}

/// Writes `path` by way of a temporary file elsewhere in the same file system: for folders of which every file is read.
pub(crate) fn write_by_way_of(
    temporary: &Path,
    path: &Path,
    content: impl FnOnce(&mut Out) -> Result<(), Error>,
) -> Result<(), Error> {
    let folder = folder_of(path);
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let written = fill(temporary, content).and_then(|()| fs::rename(temporary, path).map_err(Error::io(path)));
    if written.is_err() {
        // The first error is the one to report; a leftover does no harm.
        let _ = fs::remove_file(temporary);
    }
    written?;
    sync_folder(folder)
}

fn fill(temporary: &Path, content: impl FnOnce(&mut Out) -> Result<(), Error>) -> Result<(), Error> {
    let mut out = BufWriter::new(File::create(temporary).map_err(Error::io(temporary))?);
    content(&mut out)?;
    out.flush().map_err(Error::io(temporary))?;
    out.get_ref().sync_all().map_err(Error::io(temporary))
}

/// `dir/name` → `dir/.name.tmp`.
fn temporary_for(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".tmp");
    path.with_file_name(name)
}

/// The folder that a file is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a folder's names, and so a rename in it, survive a power cut.
#[cfg(unix)]
pub(crate) fn sync_folder(folder: &Path) -> Result<(), Error> {
    File::open(folder).and_then(|opened| opened.sync_all()).map_err(Error::io(folder))
}

/// Folders cannot be opened as files here; the rename is as durable as the system makes it.
#[cfg(not(unix))]
pub(crate) fn sync_folder(_folder: &Path) -> Result<(), Error> {
    Ok(())
}
