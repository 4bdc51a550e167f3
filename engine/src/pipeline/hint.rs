//! Hints for misspelt names.

/// "did you mean" the name nearest to `wrong`; or the names there are, `what` saying of which sort.
pub(super) fn hint<'n>(wrong: &str, names: impl IntoIterator<Item = &'n str>, what: &str) -> Option<String> {
    let names: Vec<&str> = names.into_iter().collect();
    match nearest(wrong, &names) {
        Some(name) => Some(format!("did you mean `{name}`?")),
        None if names.is_empty() => None,
        None => Some(format!("{what}: {}", list(&names))),
    }
}

/// Whether `wrong` is probably a misspelt `name`.
pub(super) fn is_misspelt(wrong: &str, name: &str) -> bool {
    wrong != name && nearest(wrong, &[name]).is_some()
}

/// Names in backquotes, separated by commas.
pub(super) fn list<S: AsRef<str>>(names: &[S]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    quoted.join(", ")
}

/// The name that takes the fewest edits (at most a third of its characters, and one at least), swaps of neighbours
/// counting as one.
fn nearest<'n>(wrong: &str, names: &[&'n str]) -> Option<&'n str> {
    names
        .iter()
        .map(|name| (strsim::damerau_levenshtein(wrong, name), *name))
        .filter(|(edits, name)| *edits <= (name.chars().count() / 3).max(1))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, name)| name)
}
