//! Words, set apart as NLTK's `word_tokenize` sets them apart (3.9.1): the conventions of the Penn Treebank, with Robert MacIntyre's
//! contractions, sentence by sentence.
//!
//! Only what can tell whether a word is in capitals is done: a letter has to land in the same word as there, a mark has not.

use std::borrow::Cow;
use std::sync::LazyLock;

use crate::pattern::{Flags, Pattern};
use crate::python::is_space;

/// The tokeniser, compiled at its first use.
pub static TREEBANK: LazyLock<Result<Treebank, String>> = LazyLock::new(Treebank::new);

/// Marks that always stand alone, before and after closing quotes are seen to.
const MARKS: [&str; 2] = [r"[«“‘„`;@#$%&?!]|\.{2,}", r#"[»”’"\[\](){}<>*]|--|''"#];
/// A colon or comma, but for one before a digit.
const COLON: &str = r"([:,])(\D|\Z)";
/// The full stop of a sentence, which closing marks may follow.
const FULL_STOP: &str = r#"([^.])\.([\])}>"'»”’ ]*)\Z"#;
/// A quote before a single letter, but for the clitics.
const QUOTED_LETTER: &str = r"'(?![mtsdn]|re|ve|ll)(\w)\b";
/// A closing quote.
const CLOSING: &str = "([^'])' ";
/// Clitics and closing quotes, between single spaces.
const CLITICS: [&str; 2] = ["([^' ])('[sSmMdD]|') ", "([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) "];
/// Words that count as two: the first part, with the second one after it.
const CONTRACTIONS: &str = r"\b(can(?=not\b)|d(?='ye\b)|gim(?=me\b)|gon(?=na\b)|got(?=ta\b)|lem(?=me\b)|more(?='n\b)|wan(?=na\s))(not|'ye|me|na|ta|'n)";
const IT_IS: &str = r" ('t)(is|was)\b";
/// What all of them hold, found without looking around.
const CONTRACTED: &str = "cannot|d'ye|gimme|gonna|gotta|lemme|more'n|wanna| 't(?:is|was)";

/// Sets words apart.
pub struct Treebank {
    marks: [Step; 6],
    clitics: [Step; 2],
    contracted: Pattern,
    contractions: [Step; 2],
}

/// A pattern and what it is replaced by.
type Step = (Pattern, &'static str);

impl Treebank {
    fn new() -> Result<Self, String> {
        let exact = |pattern| Pattern::compile(pattern, Flags::default());
        let any_case = |pattern| Pattern::compile(pattern, Flags::IGNORE_CASE);
        let marks = [
            (exact(MARKS[0])?, " $0 "),
            (exact(COLON)?, " $1 $2"),
            (exact(FULL_STOP)?, "$1 . $2"),
            (any_case(QUOTED_LETTER)?, "' $1"),
            (exact(CLOSING)?, "$1 ' "),
            (exact(MARKS[1])?, " $0 "),
        ];
        Ok(Self {
            marks,
            clitics: [(exact(CLITICS[0])?, "$1 $2 "), (exact(CLITICS[1])?, "$1 $2 ")],
            contracted: any_case(CONTRACTED)?,
            contractions: [(any_case(CONTRACTIONS)?, " $1 $2 "), (any_case(IT_IS)?, " $1 $2 ")],
        })
    }

    /// `sentence` with white space around each word.
    pub fn apart(&self, sentence: &str) -> String {
        let marked = replaced(sentence.to_owned(), &self.marks);
        let words: Vec<&str> = marked.split(is_space).filter(|word| !word.is_empty()).collect();
        let split = replaced(format!(" {} ", words.join(" ")), &self.clitics);
        if self.contracted.is_match(&split) { replaced(split, &self.contractions) } else { split }
    }
}

fn replaced(text: String, steps: &[Step]) -> String {
    steps.iter().fold(text, |text, (pattern, replacement)| match pattern.replace(&text, replacement) {
        Cow::Borrowed(_) => text,
        Cow::Owned(text) => text,
    })
}
