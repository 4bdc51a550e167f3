//! What people ask of a run: a file each in its folder, taken away by the run when it has seen it. So whoever may write there may ask,
//! from any machine that sees the disk, and nobody else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Something to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Let nothing in and begin no call.
    Pause,
    /// Go on.
    Resume,
    /// End as if the sources ended where they are.
    Drain,
}

impl Ask {
    /// All there are.
    pub const ALL: [Ask; 3] = [Ask::Pause, Ask::Resume, Ask::Drain];

    /// Its name, as people write it.
    pub fn name(self) -> &'static str {
        match self {
            Ask::Pause => "pause",
            Ask::Resume => "resume",
            Ask::Drain => "drain",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Ask::ALL.into_iter().find(|ask| ask.name() == name)
    }
}

fn folder(out: &Path) -> PathBuf {
    out.join("state").join("asked")
}

/// Asks it of the run in a folder.
///
/// # Errors
/// The folder cannot be written to.
pub fn ask(out: &Path, ask: Ask) -> io::Result<()> {
    fs::create_dir_all(folder(out))?;
    fs::write(folder(out).join(ask.name()), "")
}

/// What was asked since the last look, in the order in which it was.
pub(crate) fn taken(out: &Path) -> Vec<Ask> {
    let folder = folder(out);
    let take = |ask: Ask| {
        let path = folder.join(ask.name());
        let at = path.metadata().and_then(|known| known.modified()).ok()?;
        fs::remove_file(path).ok().map(|()| (at, ask))
    };
    let mut taken: Vec<_> = Ask::ALL.into_iter().filter_map(take).collect();
    taken.sort_by_key(|(at, _)| *at);
    taken.into_iter().map(|(_, ask)| ask).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_taken_once() {
        let out = tempfile::tempdir().unwrap();
        assert_eq!(taken(out.path()), []);
        ask(out.path(), Ask::Drain).unwrap();
        ask(out.path(), Ask::Pause).unwrap();
        // A file system may tell times no finer than that.
        std::thread::sleep(std::time::Duration::from_millis(20));
        ask(out.path(), Ask::Pause).unwrap();
        assert_eq!(taken(out.path()), [Ask::Drain, Ask::Pause]);
        assert_eq!(taken(out.path()), []);
    }
}
