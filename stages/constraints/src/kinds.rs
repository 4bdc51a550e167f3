//! The table of constraint types.

use crate::args::Args;
use crate::error::Error;
use crate::rule::Parsed;
use crate::{ifeval, plain};

/// A constraint type.
pub struct Kind {
    /// Its id, the value of `type` in JSON.
    pub id: &'static str,
    /// The names of its arguments.
    pub fields: &'static [&'static str],
    /// Reads its rule from the arguments.
    pub build: fn(&Args) -> Result<Parsed, Error>,
}

/// Every type that can be built.
pub static KINDS: [Kind; 32] = [
    ifeval::constrained_response::KIND,
    ifeval::end_checker::KIND,
    ifeval::forbidden_words::KIND,
    ifeval::json_format::KIND,
    ifeval::keyword_existence::KIND,
    ifeval::keyword_frequency::KIND,
    ifeval::letter_frequency::KIND,
    ifeval::multiple_sections::KIND,
    ifeval::no_comma::KIND,
    ifeval::nth_paragraph_first_word::KIND,
    ifeval::number_bullet_lists::KIND,
    ifeval::number_highlighted_sections::KIND,
    ifeval::number_paragraphs::KIND,
    ifeval::number_placeholders::KIND,
    ifeval::number_words::KIND,
    ifeval::postscript::KIND,
    ifeval::quotation::KIND,
    ifeval::repeat_prompt::KIND,
    ifeval::title::KIND,
    ifeval::two_responses::KIND,
    plain::begins_with::KIND,
    plain::contains::KIND,
    plain::ends_with::KIND,
    plain::lines::KIND,
    plain::lower_case::KIND,
    plain::marks::COMMA,
    plain::marks::DIGIT,
    plain::marks::EXCLAMATION,
    plain::marks::QUESTION,
    plain::sentences::KIND,
    plain::upper_case::KIND,
    plain::words::KIND,
];

const DETECTION: &str = "language detection";
const PUNKT: &str = "the punkt sentence splitter";
const TOKENIZER: &str = "the punkt sentence splitter and the Treebank word tokeniser";

/// The IFEval types that are not decided here, with what each needs.
const UNSUPPORTED: [(&str, &str); 5] = [
    ("change_case:capital_word_frequency", TOKENIZER),
    ("change_case:english_capital", DETECTION),
    ("change_case:english_lowercase", DETECTION),
    ("language:response_language", DETECTION),
    ("length_constraints:number_sentences", PUNKT),
];

/// The type with this id.
pub fn find(id: &str) -> Result<&'static Kind, Error> {
    match KINDS.iter().find(|kind| kind.id == id) {
        Some(kind) => Ok(kind),
        None => Err(unsupported(id).unwrap_or_else(|| unknown(id, |_| true))),
    }
}

/// The IFEval type with this id; the plain types are none.
pub fn find_ifeval(id: &str) -> Result<&'static Kind, Error> {
    match find(id) {
        Ok(kind) if is_ifeval(kind) => Ok(kind),
        Err(error @ Error::Unsupported { .. }) => Err(error),
        _ => Err(unknown(id, is_ifeval)),
    }
}

/// IFEval's ids are made of a group and a name.
fn is_ifeval(kind: &Kind) -> bool {
    kind.id.contains(':')
}

fn unsupported(id: &str) -> Option<Error> {
    let (kind, needs) = UNSUPPORTED.into_iter().find(|(kind, _)| *kind == id)?;
    Some(Error::Unsupported { kind, needs })
}

fn unknown(id: &str, among: fn(&Kind) -> bool) -> Error {
    let similarity = |kind: &&Kind| strsim::normalized_damerau_levenshtein(kind.id, id);
    let known = KINDS.iter().filter(|kind| among(kind));
    let nearest = known.max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    Error::UnknownType { name: id.to_owned(), nearest: nearest.map_or("", |kind| kind.id) }
}
