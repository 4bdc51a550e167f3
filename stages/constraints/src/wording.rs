//! Pieces that the wordings share.

/// `"a"`, `"a" and "b"`, or `"a", "b" and "c"`, with `joint` as the last joint.
pub fn quoted(items: &[String], joint: &str) -> String {
    let quoted: Vec<String> = items.iter().map(|item| format!("\"{item}\"")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} {joint} {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// "1 word", "2 words".
pub fn counted(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// "at least 2 words", or where `negated` its complement "fewer than 2 words" or "no words".
pub fn at_least(n: usize, noun: &str, negated: bool) -> String {
    match (negated, n) {
        (false, _) => format!("at least {}", counted(n, noun)),
        (true, 1) => format!("no {noun}s"),
        (true, _) => format!("fewer than {}", counted(n, noun)),
    }
}

/// `Use {thing} at least 2 times.` or where `negated` its complement.
pub fn use_times(thing: &str, n: usize, negated: bool) -> String {
    match (negated, n) {
        (true, 1) => format!("Do not use {thing}."),
        _ => format!("Use {thing} {}.", at_least(n, "time", negated)),
    }
}

/// `positive` as it is, or where `negated` as a prohibition: its first letter in lower case after "Do not".
pub fn demand(positive: &str, negated: bool) -> String {
    let mut letters = positive.chars();
    match letters.next().filter(|_| negated) {
        Some(first) => format!("Do not {}{}", first.to_lowercase(), letters.as_str()),
        None => positive.to_owned(),
    }
}
