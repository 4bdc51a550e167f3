//! Python's notions of text where they differ from Rust's: IFEval is defined by a Python program.

/// Whether `c` is white space to Python: Unicode White_Space and the four ASCII separators.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// `text` without white space at both ends.
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Whether `text` is empty but for white space. A blank text satisfies no constraint of
/// IFEval's reading.
///
/// White space is Unicode White_Space and U+001C to U+001F, as for Python's `str.strip`.
pub fn is_blank(text: &str) -> bool {
    text.chars().all(is_space)
}

/// Python's `str.isupper`: a letter with a case, and none in lower or title case.
pub fn is_upper(text: &str) -> bool {
    text.contains(char::is_uppercase) && !text.contains(|c: char| c.is_lowercase() || is_title(c))
}

/// Python's `str.islower`: a letter with a case, and none in upper or title case.
pub fn is_lower(text: &str) -> bool {
    text.contains(char::is_lowercase) && !text.contains(|c: char| c.is_uppercase() || is_title(c))
}

/// Whether `c` is in title case, as the one letter for Lj is.
fn is_title(c: char) -> bool {
    !c.is_uppercase() && !c.is_lowercase() && !c.to_lowercase().eq([c])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_those_of_python() {
        for (text, upper, lower) in [
            ("NASA 1", true, false),
            ("nasa 1", false, true),
            ("Nasa", false, false),
            ("1!", false, false),
            ("ǅ", false, false),
            ("Aǅ", false, false),
            ("日本", false, false),
            ("Ⅷ", true, false),
            ("ª", false, true),
            ("ß", false, true),
        ] {
            assert_eq!((is_upper(text), is_lower(text)), (upper, lower), "{text}");
        }
    }
}
