//! The memos of a run's processes: each keeps the calls that it makes. With another number of processes other ones make them, so
//! that the memos have to be parted anew before a run.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::open::remove;
use super::{Key, Memo};

/// The folder of a process's memo.
pub(crate) fn folder(state: &Path, process: usize) -> PathBuf {
    state.join(if process == 0 { "memo".to_owned() } else { format!("memo.{process}") })
}

/// Processes that a run may have.
const MOST: usize = 1024;

/// Says for how many processes the memos are parted.
fn note(state: &Path) -> PathBuf {
    state.join("memo.processes")
}

/// Parts all memos of a folder for so many processes, where they were parted for another number. Nobody else may use them.
///
/// # Errors
/// They are in use, or cannot be read or written.
pub(crate) fn arrange(state: &Path, processes: usize, owner: fn(&Key, usize) -> usize) -> Result<(), String> {
    let known = std::fs::read_to_string(note(state)).ok().and_then(|text| text.trim().parse().ok());
    if known == Some(processes) {
        return Ok(());
    }
    // Until all is where it belongs nothing is known: a parting that is cut off is done again.
    write(state, "parting")?;
    let is_there = |process: &usize| folder(state, *process).is_dir();
    let before = (0..MOST).rev().find(is_there).map_or(0, |last| last + 1);
    let open: RefCell<BTreeMap<usize, Arc<Memo>>> = RefCell::default();
    let memo = |process: usize| {
        let mut open = open.borrow_mut();
        if let Some(memo) = open.get(&process) {
            return Ok(Arc::clone(memo));
        }
        let memo = Arc::new(Memo::open(&folder(state, process))?);
        Ok::<_, String>(open.entry(process).or_insert(memo).clone())
    };
    for process in (0..before.max(processes)).filter(is_there) {
        memo(process)?.part(process, |key| owner(key, processes), memo)?;
    }
    drop(open);
    write(state, &processes.to_string())?;
    // They are empty now.
    let mut left = (processes..before).map(|process| folder(state, process)).filter(|folder| folder.is_dir());
    left.try_for_each(|folder| remove(&folder))
}

/// Brings the memos of all processes together in the first one's.
///
/// # Errors
/// As for a run.
pub fn gather(state: &Path) -> Result<(), String> {
    arrange(state, 1, |_, _| 0)
}

fn write(state: &Path, note_text: &str) -> Result<(), String> {
    std::fs::create_dir_all(state).map_err(|error| error.to_string())?;
    std::fs::write(note(state), note_text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::tests::paid;
    use super::*;

    fn owner(key: &Key, count: usize) -> usize {
        usize::from(key[0]) % count
    }

    /// Processes by the calls that their memos hold.
    fn held(state: &Path, keys: &[Key], processes: usize) -> Vec<usize> {
        let memos: Vec<_> = (0..processes).map(|process| Memo::open(&folder(state, process)).unwrap()).collect();
        let holder = |key: &Key| memos.iter().position(|memo| memo.get(key).unwrap().is_some()).unwrap();
        keys.iter().map(holder).collect()
    }

    #[test]
    fn calls_go_where_they_are_made_however_many_processes_there_are() {
        let state = tempfile::tempdir().unwrap();
        let calls: Vec<_> = (0..50).map(|n| paid("s", &n.to_string(), n)).collect();
        let keys: Vec<Key> = calls.iter().map(|paid| paid.identity.key).collect();
        Memo::open(&folder(state.path(), 0)).unwrap().put(&calls).unwrap();
        for processes in [1, 3, 2, 2, 4, 1] {
            arrange(state.path(), processes, owner).unwrap();
            let expected: Vec<_> = keys.iter().map(|key| owner(key, processes)).collect();
            assert_eq!(held(state.path(), &keys, processes), expected, "{processes}");
            assert!(!folder(state.path(), processes).exists());
            let made: usize = (0..processes)
                .map(|process| Memo::open(&folder(state.path(), process)).unwrap().made(calls[0].place).unwrap().len())
                .sum();
            assert_eq!(made, calls.len());
        }
    }
}
