//! Who reads whom: inputs present, record types equal, sources read, cycles closed by a stage made for it.

use serde_json::Value;

use super::StageKind;
use super::cycle;
use super::place::Place;
use super::report::Problem;

/// An input: where it is named, and the stage's index, if there is such a stage.
pub(super) type Input<'a> = (&'a Place, Option<usize>);

/// A stage whose inputs are looked up.
pub(super) struct Draft<'a> {
    pub name: &'a str,
    pub place: &'a Place,
    pub kind_name: &'a str,
    /// `None` if the catalog has no such type.
    pub kind: Option<StageKind<'a>>,
    pub from: Vec<Input<'a>>,
    pub from_place: Option<&'a Place>,
    /// Whether a key that is probably meant to be `from` is reported already.
    pub from_reported: bool,
    /// As `from_reported`, of `with`.
    pub with_reported: bool,
    pub with: Vec<Input<'a>>,
    pub with_place: Option<&'a Place>,
    pub settings: Value,
}

impl<'a> Draft<'a> {
    /// The stages whose records flow into this one, each with its place: versions come back beside the flow.
    pub fn flows(&self) -> impl Iterator<Item = (&'a Place, usize)> {
        let with = self.with.iter().filter(|_| self.kind.is_none_or(|kind| !kind.in_step));
        self.from.iter().chain(with).filter_map(|(place, index)| Some((*place, (*index)?)))
    }

    /// All stages that this one reads, each with its place.
    pub fn inputs(&self) -> impl Iterator<Item = (&'a Place, usize)> {
        self.from.iter().chain(&self.with).filter_map(|(place, index)| Some((*place, (*index)?)))
    }
}

/// Reports all that is wrong between stages.
pub(super) fn wire(drafts: &[Draft<'_>], problems: &mut Vec<Problem>) {
    for draft in drafts {
        problems.extend(presence(draft));
        let Some(kind) = draft.kind else { continue };
        let takes = |record| format!("stage `{}` (`{}`) takes {record}", draft.name, draft.kind_name);
        if let Some(record) = kind.input {
            match_types(drafts, &draft.from, record, &takes(records(record)), problems);
        }
        if let Some(record) = kind.with {
            match_types(drafts, &draft.with, record, &(takes(records(record)) + " as `with`"), problems);
        }
    }
    unread_sources(drafts, problems);
    problems.extend(cycle::unclosed(drafts));
}

/// Inputs that are missing or too many.
fn presence(draft: &Draft<'_>) -> Vec<Problem> {
    let Some(kind) = draft.kind else {
        return Vec::new();
    };
    let called = format!("stage `{}` (`{}`)", draft.name, draft.kind_name);
    let has_from = !draft.from.is_empty();
    let from = match (kind.input, draft.from_place) {
        (None, Some(place)) => Some(Problem::new(place, format!("{called} is a source: it takes no `from`"))),
        (Some(record), place) if !has_from && !draft.from_reported => {
            let message = format!("{called} needs `from`: it takes {}", records(record));
            Some(Problem::new(place.unwrap_or(draft.place), message))
        }
        _ => None,
    };
    let with = match (kind.with, draft.with_place) {
        (None, Some(place)) => Some(Problem::new(place, format!("{called} takes no `with`"))),
        (Some(record), place) if draft.with.is_empty() && !draft.with_reported => {
            let message = format!("{called} needs `with`: it looks up {}", records(record));
            Some(Problem::new(place.unwrap_or(draft.place), message))
        }
        _ => None,
    };
    from.into_iter().chain(with).collect()
}

/// A record type as messages name it.
fn records(record: &str) -> &str {
    if record == "*" { "records of one type" } else { record }
}

/// Inputs that output nothing, or whose record types differ from what is taken or, if that is any type, from each
/// other.
fn match_types(drafts: &[Draft<'_>], inputs: &[Input<'_>], taken: &str, takes: &str, problems: &mut Vec<Problem>) {
    let mut first: Option<(&str, &str)> = None;
    for (place, index) in inputs {
        let Some(input) = index.and_then(|index| drafts.get(index)) else {
            continue;
        };
        let Some(kind) = input.kind else { continue };
        let called = format!("stage `{}` (`{}`)", input.name, input.kind_name);
        let Some(output) = kind.output else {
            problems.push(Problem::new(place, format!("{called} outputs nothing to read")));
            continue;
        };
        let (name, expected) = *first.get_or_insert((input.name, output));
        if taken != "*" && output != taken {
            problems.push(Problem::new(place, format!("{takes}, but {called} outputs {output}")));
        } else if taken == "*" && output != expected {
            let message = format!("{takes}, but `{name}` outputs {expected} and {called} outputs {output}");
            problems.push(Problem::new(place, message));
        }
    }
}

/// Sources that nobody reads; not judged while a name is unresolved, which may be that reader's.
fn unread_sources(drafts: &[Draft<'_>], problems: &mut Vec<Problem>) {
    let mut inputs = drafts.iter().flat_map(|draft| draft.from.iter().chain(&draft.with));
    if inputs.any(|(_, index)| index.is_none()) {
        return;
    }
    let read: Vec<usize> = drafts.iter().flat_map(Draft::inputs).map(|(_, index)| index).collect();
    for (index, draft) in drafts.iter().enumerate() {
        let source = draft.kind.is_some_and(|kind| kind.input.is_none() && kind.output.is_some());
        if source && !read.contains(&index) {
            let message = format!("nothing reads the source `{}`", draft.name);
            let help = format!("name `{}` in the `from` or `with` of a stage, or remove it", draft.name);
            problems.push(Problem::new(draft.place, message).help(help));
        }
    }
}
