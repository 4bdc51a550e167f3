//! Python's notions of text where they differ from Rust's: IFEval is defined by a Python program.

/// Whether `c` is white space to Python: Unicode White_Space and the four ASCII separators.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// `text` without white space at both ends.
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Whether `text` is empty but for white space. A blank text satisfies no constraint.
///
/// White space is Unicode White_Space and U+001C to U+001F, as for Python's `str.strip`.
pub fn is_blank(text: &str) -> bool {
    text.chars().all(is_space)
}
