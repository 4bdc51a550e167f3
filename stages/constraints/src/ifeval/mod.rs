//! The types of IFEval (arXiv 2311.07911), decided as its public scorer decides them.

pub mod capital_word_frequency;
pub mod constrained_response;
pub mod end_checker;
pub mod english_capital;
pub mod english_lowercase;
pub mod forbidden_words;
pub mod json_format;
pub mod keyword_existence;
pub mod keyword_frequency;
pub mod letter_frequency;
pub mod multiple_sections;
pub mod no_comma;
pub mod nth_paragraph_first_word;
pub mod number_bullet_lists;
pub mod number_highlighted_sections;
pub mod number_paragraphs;
pub mod number_placeholders;
pub mod number_sentences;
pub mod number_words;
pub mod postscript;
pub mod quotation;
pub mod repeat_prompt;
pub mod response_language;
pub mod title;
pub mod two_responses;
