//! Sentences and words as Multi-IF's scorer counts them: by the language that is detected, English where none is.
//!
//! Chinese, Japanese and Hindi are counted exactly, but for emoji sequences that Unicode does not list. Thai is not: the scorer uses PyThaiNLP with a dictionary and a trained model.
//! Here white space ends a Thai sentence, and four Thai characters make a word. None of Multi-IF's eight languages is Thai.

use std::sync::LazyLock;

use crate::args::Args;
use crate::error::Error;
use crate::langdetect::{DETECTOR, Detector};
use crate::pattern::Pattern;
use crate::punkt::Punkt;
use crate::python::{is_blank, is_space, strip};
use crate::rule::Count;

/// What ends a sentence of Chinese or Japanese, and of Hindi.
const CJK_ENDS: &str = "!?。.！？．";
const HINDI_ENDS: &str = "।!?";
/// What Python's `splitlines` splits at.
const LINE_ENDS: &str = "\n\r\x0b\x0c\x1c\x1d\x1e\u{85}\u{2028}\u{2029}";
/// Marks that are no words of Chinese or Japanese and do not part any.
const CJK_MARKS: &str = r#"\.!?．/_,{}<>:;$%^&*(+"'—！，。？、`~@#￥…（）：；《》“”)[]»〔〕-「」"#;
/// Characters of a Thai word, about.
const THAI_WORD: usize = 4;

/// One emoji: a flag, a key, or a picture with its modifiers, joined ones being one.
static EMOJI: LazyLock<Result<Pattern, String>> = LazyLock::new(|| {
    let toned = r"\p{Emoji_Modifier_Base}[\x{1f3fb}-\x{1f3ff}]";
    let picture = format!(r"(?:(?:{toned}|\p{{Extended_Pictographic}})\x{{fe0f}}?[\x{{e0020}}-\x{{e007f}}]*)");
    let flag_or_key = r"[\x{1f1e6}-\x{1f1ff}]{2}|[0-9#*]\x{fe0f}?\x{20e3}";
    Pattern::native(&format!("{flag_or_key}|{picture}(?:\\x{{200d}}{picture})*|[\\x{{1f3fb}}-\\x{{1f3ff}}]"))
});

/// Counts sentences.
pub fn sentences(args: &Args, punkt: &'static Punkt) -> Result<Count, Error> {
    let detector = args.shared(&DETECTOR)?;
    Ok(Box::new(|text| match language(detector, text) {
        Language::Thai => text.split(is_space).filter(|sentence| !sentence.is_empty()).count(),
        Language::Hindi => text.split_inclusive(|c| HINDI_ENDS.contains(c)).filter(|part| !is_blank(part)).count(),
        Language::Cjk => cjk_sentences(text),
        Language::Other => punkt.sentences(text).len(),
    }))
}

/// Counts words; a `word` is one in most languages.
pub fn words(args: &Args, word: Pattern) -> Result<Count, Error> {
    let (detector, emoji) = (args.shared(&DETECTOR)?, args.shared(&EMOJI)?);
    Ok(Box::new(move |text| match language(detector, text) {
        Language::Thai => thai_words(text, &word),
        Language::Cjk => cjk_words(text, emoji),
        Language::Hindi | Language::Other => word.count(text),
    }))
}

/// What is counted in a way of its own.
enum Language {
    Thai,
    Hindi,
    /// Chinese or Japanese.
    Cjk,
    Other,
}

fn language(detector: &Detector, text: &str) -> Language {
    match detector.detect(text) {
        Some("th") => Language::Thai,
        Some("hi") => Language::Hindi,
        Some("zh-cn" | "zh-tw" | "ja") => Language::Cjk,
        _ => Language::Other,
    }
}

/// Runs of anything between the ends of sentences and lines.
fn cjk_sentences(text: &str) -> usize {
    let lines = text.split(|c| LINE_ENDS.contains(c)).map(strip);
    lines.flat_map(|line| line.split(|c| CJK_ENDS.contains(c))).filter(|part| !part.is_empty()).count()
}

/// Emoji, characters of Chinese, Japanese and Korean, and runs of others.
fn cjk_words(text: &str, emoji: &Pattern) -> usize {
    let text = text.replace(|c| CJK_MARKS.contains(c), "");
    let emojis = emoji.count(&text);
    let text = emoji.replace(&text, "");
    let characters = text.chars().filter(|c| is_cjk(*c)).count();
    let others = text.split(|c| is_cjk(c) || is_space(c)).filter(|run| !run.is_empty()).count();
    emojis + characters + others
}

fn is_cjk(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}')
}

fn thai_words(text: &str, word: &Pattern) -> usize {
    let is_thai = |c: char| ('\u{e00}'..='\u{e7f}').contains(&c);
    text.chars().filter(|c| is_thai(*c)).count().div_ceil(THAI_WORD) + word.count(&text.replace(is_thai, " "))
}
