//! The memos of a run's processes: each keeps the calls that it makes. With another number of processes other ones make them, so
//! that the memos have to be parted anew before a run.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::open::{TAKEN, locked, remove};
use super::{Key, Memo, text};

/// The folder of a process's memo.
pub(crate) fn folder(state: &Path, process: usize) -> PathBuf {
    state.join(if process == 0 { "memo".to_owned() } else { format!("memo.{process}") })
}

/// All memos of a folder, for this process alone as long as it has this.
#[derive(Debug)]
pub struct Held(#[expect(dead_code, reason = "holds a lock")] File);

/// Says for how many processes the memos are parted.
fn note(state: &Path) -> PathBuf {
    state.join("memo.processes")
}

/// Parts all memos of a folder for so many processes, where they were parted for another number; does nothing where another run has them.
///
/// # Errors
/// They cannot be read or written.
pub(crate) fn arrange(state: &Path, processes: usize, owner: fn(&Key, usize) -> usize) -> Result<Option<Held>, String> {
    let Some(lock) = locked(&state.join("lock"))? else { return Ok(None) };
    let known = std::fs::read_to_string(note(state)).ok().and_then(|text| text.trim().parse().ok());
    if known != Some(processes) {
        let before = known_memos(state)?;
        if before.max(processes) > 1 {
            part(state, before, processes, owner)?;
        }
        write(state, &processes.to_string())?;
    }
    Ok(Some(Held(lock)))
}

/// One more than the number of the last process that has a memo here.
fn known_memos(state: &Path) -> Result<usize, String> {
    let mut count = 0;
    for entry in std::fs::read_dir(state).map_err(text)? {
        let name = entry.map_err(text)?.file_name().to_string_lossy().into_owned();
        let process = if name == "memo" { Some(0) } else { name.strip_prefix("memo.").and_then(|n| n.parse().ok()) };
        count = count.max(process.map_or(0, |process: usize| process + 1));
    }
    Ok(count)
}

fn part(state: &Path, before: usize, processes: usize, owner: fn(&Key, usize) -> usize) -> Result<(), String> {
    // Until all is where it belongs nothing is known: a parting that is cut off is done again.
    write(state, "parting")?;
    let is_there = |process: &usize| folder(state, *process).is_dir();
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
    // They are empty now.
    let mut left = (processes..before).map(|process| folder(state, process)).filter(|folder| folder.is_dir());
    left.try_for_each(|folder| remove(&folder))
}

/// Brings the memos of all processes together in the first one's.
///
/// # Errors
/// They are in use, or cannot be read or written.
pub fn gather(state: &Path) -> Result<Held, String> {
    arrange(state, 1, |_, _| 0)?.ok_or_else(|| TAKEN.into())
}

fn write(state: &Path, note_text: &str) -> Result<(), String> {
    let written = File::create(note(state)).and_then(|mut file| {
        file.write_all(note_text.as_bytes())?;
        file.sync_all()
    });
    written.and_then(|()| File::open(state)?.sync_all()).map_err(text)
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
            drop(arrange(state.path(), processes, owner).unwrap().unwrap());
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
