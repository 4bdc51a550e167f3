//! Tokens as Punkt sees them: words with the full stops and commas inside and after them, and marks.

use crate::python::is_space;

/// What no word begins with.
const NO_BEGINNING: &str = "(\"`{[:;&#*@)}]-,";
/// What no word goes on with: it ends before.
const NO_PART: &str = ")\";}]*:@'({[!?";

/// Whether `c` is a mark that no word goes on with.
pub fn ends_word(c: char) -> bool {
    NO_PART.contains(c)
}

/// The tokens of one line.
pub fn words(line: &str) -> Vec<&str> {
    let (mut words, mut rest) = (Vec::new(), line.trim_start_matches(is_space));
    while !rest.is_empty() {
        let (word, after) = rest.split_at(run(rest).unwrap_or_else(|| length(rest)));
        words.push(word);
        rest = after.trim_start_matches(is_space);
    }
    words
}

/// Bytes of the word or the mark that `rest` begins with.
fn length(rest: &str) -> usize {
    let mut starts = rest.char_indices();
    let single = starts.next().is_some_and(|(_, c)| NO_BEGINNING.contains(c));
    let end = |(at, _): (usize, char)| (single || is_end(&rest[at..])).then_some(at);
    starts.find_map(end).unwrap_or(rest.len())
}

/// Whether a word ends before `rest`.
fn is_end(rest: &str) -> bool {
    is_plain_end(rest) || rest.strip_prefix(',').is_some_and(is_plain_end)
}

fn is_plain_end(rest: &str) -> bool {
    rest.chars().next().is_none_or(|c| is_space(c) || ends_word(c)) || run(rest).is_some()
}

/// Bytes of the dash, or the dots with or without white space between, that `rest` begins with, two of them or more.
fn run(rest: &str) -> Option<usize> {
    let of = |mark: char| Some(rest.len() - rest.trim_start_matches(mark).len()).filter(|length| *length > 1);
    of('-').or_else(|| of('.')).or_else(|| spaced_dots(rest))
}

/// Bytes of three or more dots with one white space between each two.
fn spaced_dots(rest: &str) -> Option<usize> {
    let (mut dots, mut left) = (0, rest);
    let mut end = None;
    while let Some(after) = left.strip_prefix('.') {
        dots += 1;
        if dots > 2 {
            end = Some(rest.len() - after.len());
        }
        match after.strip_prefix(is_space) {
            Some(next) => left = next,
            None => break,
        }
    }
    end
}
