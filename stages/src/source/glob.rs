//! The patterns that name the files of a data set, as `datasets` reads them.

/// Whether a pattern is that of a name: `*` and `?` stand for all but `/`, `**` for all, and `[0-9]` for one of a class.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    rest_matches(pattern.as_bytes(), name.as_bytes())
}

fn rest_matches(pattern: &[u8], name: &[u8]) -> bool {
    match pattern {
        [] => name.is_empty(),
        // `**/` is also no folder at all.
        [b'*', b'*', b'/', rest @ ..] if rest_matches(rest, name) => true,
        [b'*', b'*', rest @ ..] => (0..=name.len()).any(|at| rest_matches(rest, &name[at..])),
        [b'*', rest @ ..] => {
            let end = name.iter().position(|byte| *byte == b'/').unwrap_or(name.len());
            (0..=end).any(|at| rest_matches(rest, &name[at..]))
        }
        [first, rest @ ..] => {
            let Some((byte, name)) = name.split_first() else { return false };
            let (one, rest) = match (first, class(rest)) {
                (b'[', Some((class, rest))) => (*byte != b'/' && is_in(class, *byte), rest),
                (b'?', _) => (*byte != b'/', rest),
                _ => (first == byte, rest),
            };
            one && rest_matches(rest, name)
        }
    }
}

/// The class up to its bracket, of which one may stand first, and what follows.
fn class(pattern: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = 1 + pattern.get(1..)?.iter().position(|byte| *byte == b']')?;
    Some((&pattern[..end], &pattern[end + 1..]))
}

fn is_in(class: &[u8], byte: u8) -> bool {
    match class {
        [b'!', rest @ ..] if !rest.is_empty() => !is_in(rest, byte),
        [from, b'-', to, rest @ ..] => (*from..=*to).contains(&byte) || is_in(rest, byte),
        [one, rest @ ..] => *one == byte || is_in(rest, byte),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_are_those_of_their_names() {
        let cases = [
            ("train.csv", "train.csv", true),
            ("train.csv", "data/train.csv", false),
            ("data/*.parquet", "data/train-0.parquet", true),
            ("data/*.parquet", "data/more/train-0.parquet", false),
            ("data/**/*.parquet", "data/train-0.parquet", true),
            ("data/**/*.parquet", "data/more/deep/train-0.parquet", true),
            ("**", "a/b/c.csv", true),
            ("**.csv", "a/b/c.csv", true),
            ("**/train[-._ 0-9]*", "train.csv", true),
            ("**/train[-._ 0-9]*", "a/train-1.csv", true),
            ("**/train[-._ 0-9]*", "a/trained.csv", false),
            ("x-[0-9][0-9]-of-[0-9][0-9]*.*", "x-01-of-02.parquet", true),
            ("x-[0-9][0-9]-of-[0-9][0-9]*.*", "x-1-of-2.parquet", false),
            ("part-?.csv", "part-1.csv", true),
            ("part?1.csv", "part/1.csv", false),
            ("[!t]*.csv", "rest.csv", true),
            ("[!t]*.csv", "train.csv", false),
            ("[]a].csv", "].csv", true),
            ("[a", "[a", true),
            ("*", "", true),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
