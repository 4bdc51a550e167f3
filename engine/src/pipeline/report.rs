//! Errors with their place, rendered as rustc does.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

use super::place::{Place, Source};
use super::tree::{Entry, Table};
use super::{Document, Location};

/// An error that is not yet bound to its source.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub place: Place,
    pub message: String,
    pub help: Option<String>,
    /// Whether what stands there is not to be shown.
    pub hidden: bool,
}

impl Problem {
    pub fn new(place: &Place, message: impl Into<String>) -> Self {
        Self { place: place.clone(), message: message.into(), help: None, hidden: false }
    }

    pub fn help(mut self, help: impl Into<Option<String>>) -> Self {
        self.help = help.into();
        self
    }

    /// About what is not to be shown.
    pub fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }
}

/// One error.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnostic {
    /// What is wrong, in one line.
    pub message: String,
    /// Where in the file; `None` for an error in a `--set` argument.
    pub location: Option<Location>,
    /// The `--set` argument that holds the error.
    pub argument: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
    #[serde(skip)]
    span: Option<Range<usize>>,
    #[serde(skip)]
    hidden: bool,
    #[serde(skip)]
    place: Place,
    #[serde(skip)]
    source: Arc<Source>,
}

impl Diagnostic {
    fn new(source: &Arc<Source>, problem: Problem) -> Self {
        Self {
            location: source.location(&problem.place),
            argument: source.argument(&problem.place).map(|argument| shown(argument, problem.hidden)),
            hidden: problem.hidden,
            span: source.span(&problem.place),
            message: problem.message,
            help: problem.help,
            place: problem.place,
            source: Arc::clone(source),
        }
    }

    fn group(&self) -> Group<'_> {
        let title = Level::ERROR.primary_title(&self.message);
        let group = match (&self.span, &self.argument) {
            (Some(span), _) => title.element(self.snippet(span.clone())),
            (None, Some(argument)) => title.element(Origin::path(format!("--set {argument}"))),
            (None, None) => Group::with_title(title),
        };
        group.elements(self.help.iter().map(|help| Level::HELP.message(help)))
    }

    fn snippet(&self, span: Range<usize>) -> Snippet<'_, annotate_snippets::Annotation<'_>> {
        let file = self.source.file(&self.place);
        let (path, text) = file.map(|file| (file.path.to_string_lossy(), file.text.as_str())).unwrap_or_default();
        let text = if self.hidden { masked(text, &span).into() } else { Cow::Borrowed(text) };
        Snippet::source(text).path(path).annotation(AnnotationKind::Primary.span(span))
    }
}

/// A `--set` argument, its value masked where it is not to be shown.
fn shown(argument: &str, hidden: bool) -> String {
    match argument.split_once('=').filter(|_| hidden) {
        Some((name, _)) => format!("{name}=***"),
        None => argument.to_owned(),
    }
}

/// A text with stars in place of a part of it, as long as that.
fn masked(text: &str, span: &Range<usize>) -> String {
    let stars = "*".repeat(span.len());
    format!("{}{stars}{}", text.get(..span.start).unwrap_or_default(), text.get(span.end..).unwrap_or_default())
}

/// One or more errors of a pipeline, in the order of the file. Displays as rustc's do, without colours.
#[derive(Clone, Debug, Serialize, thiserror::Error)]
pub struct Report {
    errors: Vec<Diagnostic>,
}

impl Report {
    pub(super) fn new(source: &Arc<Source>, mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| a.place.cmp(&b.place));
        Self { errors: problems.into_iter().map(|problem| Diagnostic::new(source, problem)).collect() }
    }

    /// An error found when a stage is created; `field` is the setting at fault, nested ones joined with dots.
    pub fn at_stage(document: &Document, stage: &str, field: Option<&str>, message: String) -> Self {
        Self::at_table(document, "stage", stage, field, message)
    }

    /// An error found when a model is opened; `field` as for [`Report::at_stage`].
    pub fn at_model(document: &Document, model: &str, field: Option<&str>, message: String) -> Self {
        Self::at_table(document, "model", model, field, message)
    }

    /// An error found when the plugin of that index in [`Document::plugins`] is loaded.
    pub fn at_plugin(document: &Document, index: usize, message: String) -> Self {
        let place = document.plugin_places().nth(index).unwrap_or(&Place::START);
        Self::new(&document.source, vec![Problem::new(place, message)])
    }

    fn at_table(document: &Document, sort: &str, name: &str, field: Option<&str>, message: String) -> Self {
        let entry = document.root.table(sort).and_then(|tables| tables.get(name));
        let place = entry.map_or(&Place::START, |entry| setting(entry, field).unwrap_or(&entry.key_place));
        Self::new(&document.source, vec![Problem::new(place, message)])
    }

    /// The errors, in the order of the file.
    pub fn errors(&self) -> &[Diagnostic] {
        &self.errors
    }

    /// Adds the errors of another report.
    pub fn append(&mut self, mut other: Self) {
        self.errors.append(&mut other.errors);
    }
}

/// Where the setting `field` (`a.b.c`) of a table has its value, or the deepest part of it that is written down.
fn setting<'t>(entry: &'t Entry, field: Option<&str>) -> Option<&'t Place> {
    let mut table: Option<&Table> = entry.node.table();
    let mut place = None;
    for key in field?.split('.') {
        let Some(found) = table.and_then(|table| table.get(key)) else {
            break;
        };
        place = Some(&found.node.place);
        table = found.node.table();
    }
    place
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let renderer = Renderer::plain();
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            f.write_str(&renderer.render(&[error.group()]))?;
        }
        Ok(())
    }
}
