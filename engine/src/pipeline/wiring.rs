//! Who reads whom: inputs present, record types equal, sources read, cycles closed by a stage made for it.

use super::StageKind;
use super::cycle;
use super::place::Place;
use super::report::Problem;

/// A stage whose inputs are resolved. Of `from` and `with`, each item has its place and, if it names a stage, the
/// stage's index.
pub(super) struct Draft<'a> {
    pub name: &'a str,
    pub place: &'a Place,
    pub kind_name: &'a str,
    /// `None` if the catalog has no such type.
    pub kind: Option<StageKind<'a>>,
    pub from: Option<Vec<(&'a Place, Option<usize>)>>,
    pub from_place: Option<&'a Place>,
    pub with: Option<Vec<(&'a Place, Option<usize>)>>,
    pub with_place: Option<&'a Place>,
}

/// An input: where it is named, and the stage's index.
type Input<'a> = (&'a Place, Option<usize>);

impl<'a> Draft<'a> {
    pub fn from(&self) -> impl Iterator<Item = &Input<'a>> {
        self.from.iter().flatten()
    }

    pub fn with(&self) -> impl Iterator<Item = &Input<'a>> {
        self.with.iter().flatten()
    }

    /// All stages that this one reads, each with its place.
    pub fn inputs(&self) -> impl Iterator<Item = (&'a Place, usize)> {
        self.from()
            .chain(self.with())
            .filter_map(|(place, index)| Some((*place, (*index)?)))
    }
}

/// Reports all that is wrong between stages.
pub(super) fn wire(drafts: &[Draft<'_>], problems: &mut Vec<Problem>) {
    for draft in drafts {
        problems.extend(presence(draft));
        if let Some(kind) = draft.kind {
            let called = format!("stage `{}` (`{}`) takes", draft.name, draft.kind_name);
            match_types(drafts, draft.from(), kind.input, &called, problems);
            let called = format!(
                "stage `{}` (`{}`) takes `with` of",
                draft.name, draft.kind_name
            );
            match_types(drafts, draft.with(), kind.with, &called, problems);
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
    let has_from = draft.from().next().is_some();
    let from = match (kind.input, draft.from_place) {
        (None, Some(place)) => Some(Problem::new(
            place,
            format!("{called} is a source: it takes no `from`"),
        )),
        (Some(record), place) if !has_from => {
            let message = format!(
                "{called} needs `from`: stages that output {}",
                records(record)
            );
            Some(Problem::new(place.unwrap_or(draft.place), message))
        }
        _ => None,
    };
    let with = draft.with_place.filter(|_| kind.with.is_none());
    let with = with.map(|place| Problem::new(place, format!("{called} takes no `with`")));
    from.into_iter().chain(with).collect()
}

/// `any` type, or one by name.
fn records(record: &str) -> String {
    if record == "*" {
        "any records".to_owned()
    } else {
        format!("{record} records")
    }
}

/// Inputs whose record types differ from what is taken, or, if any is, from each other.
fn match_types<'d>(
    drafts: &[Draft<'_>],
    inputs: impl Iterator<Item = &'d Input<'d>>,
    takes: Option<&str>,
    called: &str,
    problems: &mut Vec<Problem>,
) {
    let Some(takes) = takes else { return };
    let mut first: Option<(&str, &str)> = None;
    for (place, index) in inputs {
        let Some(input) = index.and_then(|index| drafts.get(index)) else {
            continue;
        };
        let Some(kind) = input.kind else { continue };
        let Some(output) = kind.output else {
            let message = format!(
                "stage `{}` (`{}`) outputs nothing to read",
                input.name, input.kind_name
            );
            problems.push(Problem::new(place, message));
            continue;
        };
        let (name, expected) = *first.get_or_insert((input.name, output));
        if takes != "*" && output != takes {
            let message = format!(
                "{called} {takes}, but stage `{}` (`{}`) outputs {output}",
                input.name, input.kind_name
            );
            problems.push(Problem::new(place, message));
        } else if takes == "*" && output != expected {
            let message = format!(
                "{called} records of one type, but stage `{name}` outputs {expected} and stage `{}` outputs {output}",
                input.name
            );
            problems.push(Problem::new(place, message));
        }
    }
}

/// Sources that nobody reads; not judged while a name is unresolved, which may be that reader's.
fn unread_sources(drafts: &[Draft<'_>], problems: &mut Vec<Problem>) {
    if drafts.iter().any(|draft| {
        draft
            .from()
            .chain(draft.with())
            .any(|(_, index)| index.is_none())
    }) {
        return;
    }
    let read: Vec<usize> = drafts
        .iter()
        .flat_map(Draft::inputs)
        .map(|(_, index)| index)
        .collect();
    for (index, draft) in drafts.iter().enumerate() {
        let source = draft
            .kind
            .is_some_and(|kind| kind.input.is_none() && kind.output.is_some());
        if source && !read.contains(&index) {
            let message = format!("nothing reads the source `{}`", draft.name);
            let help = format!(
                "name `{}` in the `from` or `with` of a stage, or remove it",
                draft.name
            );
            problems.push(Problem::new(draft.place, message).help(help));
        }
    }
}
