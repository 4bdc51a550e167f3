//! Copies of libraries by their content. What is loaded is a copy: the file that a pipeline names may be written to while it is in use, and
//! what was looked at (and is pinned) is what is loaded, in this process and in those that it starts.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A copy that nobody has asked for as long as this is removed.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 3600);

/// The folder of the copies: the user's own.
fn folder() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = cache.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    cache.unwrap_or_else(std::env::temp_dir).join("obvert/plugins")
}

/// A copy of a library with this content, made if there is none.
pub(super) fn kept(library: &Path, content: &[u8]) -> io::Result<PathBuf> {
    let folder = folder();
    let stem = library.file_stem().unwrap_or_default().to_string_lossy();
    let copy = folder.join(format!("{stem}-{}.{}", super::build_of(content), std::env::consts::DLL_EXTENSION));
    // Somebody may have written to it, however it is called.
    if !fs::read(&copy).is_ok_and(|kept| kept == content) {
        fs::create_dir_all(&folder)?;
        sweep(&folder);
        let part = tempfile::NamedTempFile::new_in(&folder)?;
        fs::write(part.path(), content)?;
        part.persist(&copy)?;
    }
    let _ = File::open(&copy).and_then(|copy| copy.set_modified(SystemTime::now()));
    Ok(copy)
}

/// Removes copies that have not been used for long; one that cannot be removed stays.
fn sweep(folder: &Path) {
    let Ok(entries) = folder.read_dir() else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let used = path.metadata().and_then(|metadata| metadata.modified());
        if used.is_ok_and(|used| used.elapsed().is_ok_and(|unused| unused > UNUSED)) {
            let _ = fs::remove_file(path);
        }
    }
}

/// Whether the file of a library is as long as it says, or what is missing: the system maps what is not there, and whoever touches it is
/// ended.
pub(super) fn is_whole(library: &[u8]) -> Result<(), String> {
    let Some(needed) = needed(library) else { return Ok(()) };
    if needed <= library.len() as u64 {
        return Ok(());
    }
    Err(format!("it is cut off: it says that it has {needed} bytes, and has {}", library.len()))
}

/// How long a 64-bit ELF file is at least, by its table of segments (System V ABI, chapter 5); nothing of other files.
fn needed(file: &[u8]) -> Option<u64> {
    let number = |at: u64, bytes: usize| {
        let at = usize::try_from(at).ok()?;
        let bytes = file.get(at..at.checked_add(bytes)?)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    if !file.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let header = 64;
    let Some((table, size, count)) = number(32, 8).zip(number(54, 2)).zip(number(56, 2)).map(|((t, s), c)| (t, s, c))
    else {
        return Some(header);
    };
    let end_of_table = table.saturating_add(size * count);
    let segments = (0..count).filter_map(|index| {
        let at = table.checked_add(size * index)?;
        Some(number(at.checked_add(8)?, 8)?.saturating_add(number(at.checked_add(32)?, 8)?))
    });
    segments.chain([header, end_of_table]).max()
}
