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
pub static KINDS: [Kind; 37] = [
    ifeval::capital_word_frequency::KIND,
    ifeval::constrained_response::KIND,
    ifeval::end_checker::KIND,
    ifeval::english_capital::KIND,
    ifeval::english_lowercase::KIND,
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
    ifeval::number_sentences::KIND,
    ifeval::number_words::KIND,
    ifeval::postscript::KIND,
    ifeval::quotation::KIND,
    ifeval::repeat_prompt::KIND,
    ifeval::response_language::KIND,
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

/// The type with this id.
pub fn find(id: &str) -> Result<&'static Kind, Error> {
    find_among(id, |_| true)
}

/// The IFEval type with this id; the plain types are none.
pub fn find_ifeval(id: &str) -> Result<&'static Kind, Error> {
    find_among(id, is_ifeval)
}

/// IFEval's ids are made of a group and a name.
pub fn is_ifeval(kind: &Kind) -> bool {
    kind.id.contains(':')
}

fn find_among(id: &str, among: fn(&Kind) -> bool) -> Result<&'static Kind, Error> {
    let known = || KINDS.iter().filter(|kind| among(kind));
    let similarity = |kind: &&Kind| strsim::normalized_damerau_levenshtein(kind.id, id);
    known().find(|kind| kind.id == id).ok_or_else(|| {
        let nearest = known().max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
        Error::UnknownType { name: id.to_owned(), nearest: nearest.map_or("", |kind| kind.id) }
    })
}
