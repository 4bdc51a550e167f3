//! Where a key or value was written, and the texts that this refers to.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::Location;

/// Where something was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// Bytes `start..end` of the pipeline file.
    File { start: usize, end: usize },
    /// The `--set` argument of that index.
    Argument(usize),
}

impl Place {
    /// The start of the file, for what is missing from it.
    pub const START: Self = Self::File { start: 0, end: 0 };
}

impl From<Range<usize>> for Place {
    fn from(range: Range<usize>) -> Self {
        Self::File { start: range.start, end: range.end }
    }
}

/// The texts of a pipeline: its file and its `--set` arguments.
#[derive(Debug)]
pub(super) struct Source {
    pub path: PathBuf,
    pub text: String,
    pub arguments: Vec<String>,
}

impl Source {
    /// The bytes of a place in the file, moved to lie in the text and on character borders.
    pub fn span(&self, place: &Place) -> Option<Range<usize>> {
        let Place::File { start, end } = *place else {
            return None;
        };
        // The end of the text is the end of its last line, not the start of a line behind it.
        let text = self.text.strip_suffix('\n').unwrap_or(&self.text);
        let start = text.floor_char_boundary(start);
        Some(start..self.text.ceil_char_boundary(end).max(start))
    }

    /// The line and column at which a place in the file starts.
    pub fn location(&self, place: &Place) -> Option<Location> {
        let before = self.text.get(..self.span(place)?.start)?;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Some(Location {
            file: self.path.clone(),
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

    /// A path written at `place`, made absolute: the file's paths start from its folder, those of `--set` from the
    /// current directory.
    pub fn absolute(&self, place: &Place, path: &str) -> PathBuf {
        let joined = match (place, self.path.parent()) {
            (Place::File { .. }, Some(folder)) => folder.join(path),
            _ => Path::new(path).to_owned(),
        };
        // Fails only for an empty path or without a current directory; the path is then as good as it gets.
        std::path::absolute(&joined).unwrap_or(joined)
    }
}
