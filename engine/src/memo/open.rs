//! Opens a memo's database, or makes one.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::text;

/// Bytes of calls, and as many of places, that are kept in memory as well as in the journal before they get a file of their own. A memo
/// keeps the number that it was made with.
const IN_MEMORY: u64 = 8 << 20;

pub(super) struct Opened {
    /// Held while it is open.
    pub(super) lock: File,
    pub(super) database: Database,
    pub(super) replies: Keyspace,
    pub(super) places: Keyspace,
}

pub(super) fn open(folder: &Path) -> Result<Opened, String> {
    let lock = locked(&beside(folder, "lock"))?.ok_or(TAKEN)?;
    if !folder.exists() {
        make(folder)?;
    }
    let (database, [replies, places]) = opened(folder)?;
    Ok(Opened { lock, database, replies, places })
}

/// Why there is no lock.
pub(super) const TAKEN: &str = "another run is using this folder";

/// A lock, as long as the file is open; none where another has it.
pub(super) fn locked(file: &Path) -> Result<Option<File>, String> {
    file.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(text)?;
    let lock = File::options().create(true).append(true).open(file).map_err(text)?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error.to_string()),
    }
}

/// Makes an empty memo. It gets its name when it is whole: a database that a kill left half made cannot be opened.
fn make(folder: &Path) -> Result<(), String> {
    let part = cleared(folder)?;
    opened(&part)?.0.persist(PersistMode::SyncAll).map_err(text)?;
    std::fs::rename(&part, folder).map_err(text)
}

/// Removes a memo. It loses its name while it is whole.
pub(super) fn remove(folder: &Path) -> Result<(), String> {
    let part = cleared(folder)?;
    std::fs::rename(folder, &part).and_then(|()| std::fs::remove_dir_all(&part)).map_err(text)
}

/// Where a memo is made and removed: there is nothing there.
fn cleared(folder: &Path) -> Result<PathBuf, String> {
    let part = beside(folder, "part");
    match std::fs::remove_dir_all(&part) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.to_string()),
        _ => Ok(part),
    }
}

fn opened(folder: &Path) -> Result<(Database, [Keyspace; 2]), String> {
    let database = Database::builder(folder).open().map_err(text)?;
    let options = || KeyspaceCreateOptions::default().max_memtable_size(IN_MEMORY);
    let keyspace = |name| database.keyspace(name, options).map_err(text);
    let keyspaces = [keyspace("calls")?, keyspace("places")?];
    Ok((database, keyspaces))
}

fn beside(folder: &Path, what: &str) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(format!(".{what}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memo_that_was_left_half_made_is_made_anew() {
        let state = tempfile::tempdir().unwrap();
        let folder = state.path().join("memo");
        // As a kill leaves it after the first file of the journal.
        std::fs::create_dir(beside(&folder, "part")).unwrap();
        std::fs::write(beside(&folder, "part").join("0.jnl"), "").unwrap();
        drop(open(&folder).unwrap());
        let held = open(&folder).unwrap();
        assert_eq!(open(&folder).err().unwrap(), TAKEN);
        drop(held);
        remove(&folder).unwrap();
        assert!(!folder.exists() && open(&folder).is_ok());
    }
}
