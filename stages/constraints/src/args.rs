//! Typed access to a constraint's arguments.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::error::Error;
use crate::pattern::{Flags, Pattern};
use crate::python;
use crate::reading::Reading;

/// The two relations of IFEval, in its words; the second is the negation of the first.
const RELATIONS: [&str; 2] = ["at least", "less than"];

/// The arguments of one constraint of type `kind`.
pub struct Args<'a> {
    kind: &'static str,
    reading: Reading,
    map: &'a Map<String, Value>,
}

impl<'a> Args<'a> {
    /// Wraps `map`, refusing every field that is not among `fields`.
    pub fn new(
        kind: &'static str,
        fields: &'static [&'static str],
        map: &'a Map<String, Value>,
        reading: Reading,
    ) -> Result<Self, Error> {
        match map.keys().find(|key| !fields.contains(&key.as_str())) {
            Some(field) => Err(Error::UnknownField { kind, field: field.clone(), known: known(fields) }),
            None => Ok(Self { kind, map, reading }),
        }
    }

    /// Whose scorer decides.
    pub fn reading(&self) -> Reading {
        self.reading
    }

    /// An error about `field`.
    pub fn refuse(&self, field: &'static str, cause: impl Into<String>) -> Error {
        Error::Field { kind: self.kind, field, cause: cause.into() }
    }

    /// Whether `field` is given.
    pub fn has(&self, field: &str) -> bool {
        self.map.contains_key(field)
    }

    fn value(&self, field: &'static str) -> Result<&'a Value, Error> {
        self.map.get(field).ok_or(Error::MissingField { kind: self.kind, field })
    }

    /// An integer that is `least` or more.
    pub fn integer(&self, field: &'static str, least: usize) -> Result<usize, Error> {
        let value = self.value(field)?;
        let count = value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| *n >= least);
        count.ok_or_else(|| self.refuse(field, format!("must be an integer of at least {least}, found {value}")))
    }

    /// A count: an integer that is 1 or more.
    pub fn count(&self, field: &'static str) -> Result<usize, Error> {
        self.integer(field, 1)
    }

    /// A string that is not blank, as given.
    pub fn string(&self, field: &'static str) -> Result<&'a str, Error> {
        let value = self.value(field)?;
        let text = value.as_str().filter(|text| !python::is_blank(text));
        text.ok_or_else(|| self.refuse(field, format!("must be a string that is not blank, found {value}")))
    }

    /// A list of one or more strings that are not blank.
    pub fn strings(&self, field: &'static str) -> Result<Vec<String>, Error> {
        let value = self.value(field)?;
        let wanted =
            || self.refuse(field, format!("must be a list of one or more strings that are not blank, found {value}"));
        let items = value.as_array().filter(|items| !items.is_empty()).ok_or_else(wanted)?;
        let text = |item: &Value| item.as_str().filter(|text| !python::is_blank(text)).map(str::to_owned);
        items.iter().map(text).collect::<Option<_>>().ok_or_else(wanted)
    }

    /// Whether the relation in `field` is the negated one, "less than".
    pub fn less_than(&self, field: &'static str) -> Result<bool, Error> {
        let relation = self.string(field)?;
        let index = RELATIONS.iter().position(|known| *known == relation);
        index.map(|index| index == 1).ok_or_else(|| {
            self.refuse(field, format!("must be \"{}\" or \"{}\", found \"{relation}\"", RELATIONS[0], RELATIONS[1]))
        })
    }

    /// Compiles the regular expression `source`, which came from `field`.
    pub fn pattern(&self, field: &'static str, source: &str, flags: Flags) -> Result<Pattern, Error> {
        Pattern::compile(source, flags).map_err(|cause| self.refuse(field, cause))
    }

    /// Compiles a pattern of the type's own.
    pub fn fixed(&self, source: &str) -> Result<Pattern, Error> {
        self.pattern("type", source, Flags { multi_line: true, ..Flags::default() })
    }

    /// What types share, made at its first use.
    pub fn shared<T>(&self, part: &'static LazyLock<Result<T, String>>) -> Result<&'static T, Error> {
        part.as_ref().map_err(|cause| self.refuse("type", cause.as_str()))
    }
}

/// Writes the relation that `negated` stands for into `field` of `args`.
pub fn state_relation(args: &mut Map<String, Value>, field: &str, negated: bool) {
    args.insert(field.into(), RELATIONS[usize::from(negated)].into());
}

fn known(fields: &[&str]) -> String {
    match fields {
        [] => "it takes no arguments".into(),
        _ => format!("its fields are `{}`", fields.join("`, `")),
    }
}
