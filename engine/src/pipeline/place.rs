//! Where a key or value was written, and the texts that this refers to.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::Location;

/// Where something was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// Bytes `start..end` of a file: the pipeline's own is the first, those that it includes come after it.
    File { file: usize, start: usize, end: usize },
    /// The `--set` argument of that index.
    Argument(usize),
}

impl Place {
    /// The start of the file, for what is missing from it.
    pub const START: Self = Self::File { file: 0, start: 0, end: 0 };
}

impl Place {
    /// Bytes of a file.
    pub fn of(file: usize, range: Range<usize>) -> Self {
        Self::File { file, start: range.start, end: range.end }
    }
}

/// The texts of a pipeline: its file, those that it includes, and its `--set` arguments.
#[derive(Debug)]
pub(super) struct Source {
    pub files: Vec<File>,
    pub arguments: Vec<String>,
}

/// A file and its text.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub path: PathBuf,
    pub text: String,
}

impl Source {
    /// The pipeline's own file.
    pub fn path(&self) -> &Path {
        self.files.first().map_or(Path::new(""), |file| &file.path)
    }

    /// The file of a place.
    pub fn file(&self, place: &Place) -> Option<&File> {
        match place {
            Place::File { file, .. } => self.files.get(*file),
            Place::Argument(_) => None,
        }
    }

    /// The bytes of a place in the file, moved to lie in the text and on character borders.
    pub fn span(&self, place: &Place) -> Option<Range<usize>> {
        let (Place::File { start, end, .. }, Some(file)) = (place.clone(), self.file(place)) else {
            return None;
        };
        // The end of the text is the end of its last line, not the start of a line behind it.
        let text = file.text.strip_suffix('\n').unwrap_or(&file.text);
        let start = text.floor_char_boundary(start);
        Some(start..text.ceil_char_boundary(end).max(start))
    }

    /// The line and column at which a place in the file starts.
    pub fn location(&self, place: &Place) -> Option<Location> {
        let file = self.file(place)?;
        let before = file.text.get(..self.span(place)?.start)?;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Some(Location {
            file: file.path.clone(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..)?.chars().count() + 1,
        })
    }

    /// The `--set` argument at a place.
    pub fn argument(&self, place: &Place) -> Option<&str> {
        match place {
            Place::File { .. } => None,
            Place::Argument(index) => self.arguments.get(*index).map(String::as_str),
        }
    }

    /// A path written at `place`, made absolute: a file's paths start from its folder, those of `--set` from the
    /// current directory.
    pub fn absolute(&self, place: &Place, path: &str) -> PathBuf {
        let joined = match self.file(place).and_then(|file| file.path.parent()) {
            Some(folder) => folder.join(path),
            _ => Path::new(path).to_owned(),
        };
        // Fails only for an empty path or without a current directory; the path is then as good as it gets.
        std::path::absolute(&joined).unwrap_or(joined)
    }
}
