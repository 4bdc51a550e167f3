//! Python regular expressions: compiled with Python's meaning, at a bounded cost.

use std::borrow::Cow;

use crate::translate::{self, NOT_WORD, WORD};

/// Longest source of a pattern, in bytes.
const SOURCE_LIMIT: usize = 2_000;
/// Most memory of one compiled automaton, in bytes: refuses nested counted repetitions.
const SIZE_LIMIT: usize = 4 << 20;
/// Most backtracking steps of one search, for patterns that look around. Others run in linear time.
const BACKTRACK_LIMIT: usize = 100_000;

/// How a pattern is read.
#[derive(Clone, Copy, Default)]
pub struct Flags {
    /// Python's `re.IGNORECASE`.
    pub ignore_case: bool,
    /// Python's `re.MULTILINE`.
    pub multi_line: bool,
}

impl Flags {
    /// `re.IGNORECASE` alone.
    pub const IGNORE_CASE: Self = Self { ignore_case: true, multi_line: false };
}

/// A compiled pattern. A search that exceeds the backtracking limit finds nothing.
pub struct Pattern(fancy_regex::Regex);

impl Pattern {
    /// Compiles Python source. Refuses what is invalid in Python, what cannot be carried over
    /// exactly (backreferences, inline flags, ...), what is too costly, and what matches nothing at all
    /// (the empty text), since that says nothing about a response.
    pub fn compile(source: &str, flags: Flags) -> Result<Self, String> {
        if source.len() > SOURCE_LIMIT {
            return Err(format!("the regular expression is longer than {SOURCE_LIMIT} bytes"));
        }
        let invalid = |cause: &str| format!("`{source}` is not a regular expression that can be used here: {cause}");
        let translated = translate::from_python(source, flags).map_err(|cause| invalid(&cause))?;
        let pattern = Self::build(&translated).map_err(|error| invalid(&error.to_string()))?;
        match pattern.is_match("") {
            true => Err(invalid("it matches the empty text")),
            false => Ok(pattern),
        }
    }

    /// Python's `\b` + `word` + `\b` with `re.IGNORECASE`, where `word` is a regular expression.
    pub fn bounded(word: &str) -> Result<Self, String> {
        match word.contains(|c| ".^$*+?{}[]\\|()".contains(c)) {
            true => Self::compile(&format!(r"\b{word}\b"), Flags::IGNORE_CASE),
            false => Self::bounded_literal(word),
        }
    }

    /// As [`Pattern::bounded`], with `word` taken literally. Whether it occurs can be told
    /// without looking around, in linear time: each boundary is a neighbour of the other class.
    pub fn bounded_literal(word: &str) -> Result<Self, String> {
        if word.len() > SOURCE_LIMIT {
            return Err(format!("is longer than {SOURCE_LIMIT} bytes"));
        }
        let is_word = Self::compile(r"\w", Flags::default())?;
        let neighbour =
            |c: Option<char>, edge: &str| match c.is_some_and(|c| is_word.is_match(c.encode_utf8(&mut [0; 4]))) {
                true => format!("(?:{edge}|{NOT_WORD})"),
                false => WORD.to_owned(),
            };
        let (before, after) = (neighbour(word.chars().next(), r"\A"), neighbour(word.chars().next_back(), r"\z"));
        let source = format!("(?i){before}{}{after}", translate::literal(word));
        Self::native(&source)
    }

    /// Compiles a pattern in the engine's own syntax.
    pub fn native(source: &str) -> Result<Self, String> {
        Self::build(source).map_err(|error| error.to_string())
    }

    fn build(source: &str) -> Result<Self, Box<fancy_regex::Error>> {
        let mut builder = fancy_regex::RegexBuilder::new(source);
        builder.backtrack_limit(BACKTRACK_LIMIT).delegate_size_limit(SIZE_LIMIT);
        builder.build().map(Self).map_err(Box::new)
    }

    /// Python's `re.search`, as a truth value.
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text).unwrap_or(false)
    }

    /// What Python's `re.search` finds.
    pub fn find<'t>(&self, text: &'t str) -> Option<&'t str> {
        self.0.find(text).ok().flatten().map(|found| found.as_str())
    }

    /// Python's `re.finditer`: an empty match may follow another match at once.
    pub fn find_all<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> {
        let mut from = 0;
        std::iter::from_fn(move || {
            text.get(from..)?;
            let found = self.0.find_from_pos(text, from).ok().flatten()?;
            from = found.end() + if found.as_str().is_empty() { step(text, found.end()) } else { 0 };
            Some(found.as_str())
        })
    }

    /// The parts of `text` between the matches: Python's `re.split` for a pattern without groups.
    pub fn split<'t>(&self, text: &'t str) -> Vec<&'t str> {
        self.0.split(text).filter_map(Result::ok).collect()
    }

    /// Python's `re.sub`, with `$1` for its `\\1`.
    pub fn replace<'t>(&self, text: &'t str, replacement: &str) -> Cow<'t, str> {
        self.0.try_replacen(text, 0, replacement).unwrap_or(Cow::Borrowed(text))
    }

    /// Number of matches.
    pub fn count(&self, text: &str) -> usize {
        self.find_all(text).count()
    }

    /// Number of capturing groups.
    pub fn groups(&self) -> usize {
        self.0.captures_len().saturating_sub(1)
    }
}

/// Bytes of the character at `at`, or one past the end.
fn step(text: &str, at: usize) -> usize {
    text.get(at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8)
}
