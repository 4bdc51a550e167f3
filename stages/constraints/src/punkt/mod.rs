//! Sentences, split as NLTK's `sent_tokenize` splits them (3.9.1): Punkt, Kiss and Strunk 2006, "Unsupervised Multilingual
//! Sentence Boundary Detection", Computational Linguistics 32.
//!
//! A full stop, question mark or exclamation mark before white space and another token, or before a mark that no word goes on with,
//! may end a sentence. Whether it does is decided on the word that it stands in and the token after it: a known abbreviation, an
//! ellipsis, an initial or a number ends a sentence only where the next token looks like the start of one.
//!
//! The parameters are the crate's own unless others are chosen: NLTK's may not be shipped, but are read from a file.

mod english;
mod parameters;
mod patterns;
mod token;
mod words;

use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use parameters::Parameters;
use patterns::Patterns;
use token::Token;

use crate::error::Error;
use crate::python::is_space;

/// The parameters that every constraint splits sentences by.
static CHOSEN: OnceLock<Punkt> = OnceLock::new();

/// Splits English text into sentences.
pub struct Punkt {
    parameters: Parameters,
    patterns: Patterns,
}

impl Punkt {
    /// With the crate's own parameters.
    ///
    /// # Errors
    /// None in practice: where a pattern of the crate's own is not valid.
    pub fn english() -> Result<Self, Error> {
        Self::new(Parameters::english())
    }

    /// With the parameters of a JSON file: an object of `abbrev_types` (a list of words), `collocations` (a list of pairs of words),
    /// `sent_starters` (a list of words) and `ortho_context` (an object of words and numbers), named and meant as in NLTK's
    /// `PunktParameters`. With those of NLTK, sentences are NLTK's. Who has it writes the file so:
    ///
    /// ```python
    /// import json, nltk.tokenize
    /// json.dump(vars(nltk.tokenize.PunktTokenizer()._params), open("punkt.json", "w"), default=list)
    /// ```
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let refuse = |cause: String| Error::Punkt { cause: format!("{}: {cause}", path.display()) };
        let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
        Self::new(serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))?)
    }

    fn new(parameters: Parameters) -> Result<Self, Error> {
        Ok(Self { parameters, patterns: Patterns::new().map_err(|cause| Error::Punkt { cause })? })
    }

    /// Makes every constraint split sentences this way. It can be said once, before the first constraint that counts sentences or
    /// words in capitals is built. A library that brings a copy of this crate of its own, as plugins do, is not reached.
    ///
    /// # Errors
    /// Where parameters are in use already.
    pub fn use_everywhere(self) -> Result<(), Error> {
        CHOSEN.set(self).map_err(|_| Error::Punkt { cause: "parameters are in use already".into() })
    }

    /// The one in use, which is from now on the crate's own if none was chosen.
    pub(crate) fn in_use() -> Result<&'static Self, Error> {
        match CHOSEN.get() {
            Some(chosen) => Ok(chosen),
            None => {
                let own = Self::english()?;
                Ok(CHOSEN.get_or_init(|| own))
            }
        }
    }

    /// The sentences of `text`, without the white space between them.
    pub fn sentences<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let (mut sentences, mut start) = (Vec::new(), 0);
        let ranges = self.ranges(text);
        for (index, range) in ranges.iter().enumerate() {
            // A sentence begins after the closing marks that the one before took over.
            let from = range.start + start;
            let next = ranges.get(index + 1);
            let closing = next.and_then(|next| closing_marks(&text[next.clone()]));
            let end = closing.zip(next).map_or(range.end, |((marks, _), next)| next.start + marks);
            start = closing.map_or(0, |(_, taken)| taken);
            sentences.extend(text.get(from..end).filter(|sentence| !sentence.is_empty()));
        }
        sentences
    }

    /// The sentences, with closing quotes and brackets still at the start of the next one.
    fn ranges(&self, text: &str) -> Vec<Range<usize>> {
        let (mut ranges, mut from) = (Vec::new(), 0);
        for candidate in candidates(text) {
            if self.ends_sentence(&text[candidate.word..candidate.context_end]) {
                ranges.push(from..candidate.end);
                from = candidate.next;
            }
        }
        ranges.push(from..text.trim_end_matches(is_space).len().max(from));
        ranges
    }

    /// Whether a token of `context` that another one follows ends a sentence.
    fn ends_sentence(&self, context: &str) -> bool {
        let words = context.split('\n').flat_map(words::words);
        let mut tokens: Vec<Token> = words.map(|word| Token::new(word, &self.patterns, &self.parameters)).collect();
        (1..tokens.len()).any(|next| {
            let (before, after) = tokens.split_at_mut(next);
            match (before.last_mut(), after.first()) {
                (Some(token), Some(next)) => {
                    token.review(next, &self.parameters);
                    token.ends
                }
                _ => false,
            }
        })
    }
}

/// A mark that may end a sentence.
struct Candidate {
    /// Where the word that it stands in begins.
    word: usize,
    /// Where the mark begins, and where it ends.
    mark: usize,
    end: usize,
    /// Where a next sentence would begin.
    next: usize,
    /// Where the token after it ends.
    context_end: usize,
}

/// The candidates of `text`. Of several in one word the last counts.
fn candidates(text: &str) -> Vec<Candidate> {
    let mut kept: Vec<Candidate> = Vec::new();
    for (mark, _) in text.match_indices(['.', '?', '!']) {
        let Some((next, context_end)) = follower(text, mark + 1) else {
            continue;
        };
        let last = kept.last();
        let (last_mark, last_word) = last.map_or((0, 0), |last| (last.mark, last.word));
        // White space right after the last mark would be found at 0, which NLTK takes for none.
        let space = text[last_mark..mark].rfind(|c: char| c.is_ascii_whitespace() || c == '\x0b').filter(|at| *at > 0);
        let word = space.map_or(last_word, |at| last_mark + at + 1);
        if last.is_some_and(|last| last.mark > word) {
            kept.pop();
        }
        kept.push(Candidate { word, mark, end: mark + 1, next, context_end });
    }
    kept
}

/// Where a next sentence would begin and where its first token would end, if what stands at `at` lets the mark before it end one.
fn follower(text: &str, at: usize) -> Option<(usize, usize)> {
    let rest = &text[at..];
    let first = rest.chars().next()?;
    if words::ends_word(first) {
        return Some((at, at + first.len_utf8()));
    }
    // Only where white space is: looking for the end of the token after each dot of many would take long.
    let token = rest.strip_prefix(is_space)?.trim_start_matches(is_space);
    let next = text.len() - token.len();
    let length = token.find(is_space).unwrap_or(token.len());
    (length > 0).then_some((next, next + length))
}

/// Bytes of the closing quotes and brackets that `rest` begins with, without and with the white space after them, where they stand
/// alone: white space, a dash or the end follows.
fn closing_marks(rest: &str) -> Option<(usize, usize)> {
    let after = rest.trim_start_matches(['"', '\'', ')', ']', '}']);
    let next = after.trim_start_matches(is_space);
    let marks = rest.len() - after.len();
    let alone = after.is_empty() || next.len() < after.len() || after.starts_with("--");
    (marks > 0 && alone).then_some((marks, rest.len() - next.len()))
}
