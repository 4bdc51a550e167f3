//! The constraint: a rule and the polarity wanted of it.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::args::Args;
use crate::error::Error;
use crate::kinds::{self, Kind};
use crate::reading::Reading;
use crate::rule::Rule;
use crate::{loose, python};

/// A verifiable constraint.
///
/// In JSON: `{"type": "...", <arguments>, "negated": true}`, where `negated` defaults to false and
/// is left out when false. Types whose complement has a form of its own ("at least" and "less
/// than", `at_least` and `at_most`) use that form instead of `negated`. What is decided as Multi-IF
/// decides it has `"reading": "multi_if"`. Two constraints are equal
/// where their JSON forms are.
#[derive(Clone)]
pub struct Constraint {
    kind: &'static Kind,
    args: Map<String, Value>,
    reading: Reading,
    rule: Arc<dyn Rule>,
    negated: bool,
}

impl Constraint {
    /// Reads a constraint from its JSON form.
    ///
    /// This compiles regular expressions, which takes up to a millisecond: build once, check often.
    /// Cloning and reversing share what was compiled.
    ///
    /// # Errors
    /// Where the type is unknown or not supported, or an argument is unknown, missing or ill-typed.
    pub fn from_json(value: &Value) -> Result<Self, Error> {
        let mut args = object(value)?.clone();
        let name = args.shift_remove("type").ok_or(Error::NoType)?;
        let kind = kinds::find(name.as_str().ok_or(Error::NoType)?)?;
        let negated = match args.shift_remove("negated") {
            None => false,
            Some(Value::Bool(negated)) => negated,
            Some(other) => return Err(ill_typed_flag(kind, &other)),
        };
        let reading = match args.shift_remove(Reading::FIELD) {
            None => Reading::default(),
            Some(reading) => Reading::from_json(kind, &reading)?,
        };
        let constraint = Self::build(kind, args, reading)?;
        Ok(if negated { constraint.reverse() } else { constraint })
    }

    /// Reads a constraint from an IFEval instruction id and its `kwargs` (an object or null).
    /// Arguments whose value is false in Python (null, 0, "", ...) are ignored, as the public scorer does.
    ///
    /// # Errors
    /// As [`Constraint::from_json`]. An argument that the public scorer would draw at random is missing.
    pub fn from_ifeval(id: &str, kwargs: &Value) -> Result<Self, Error> {
        Self::from_instruction(id, kwargs, Reading::Ifeval)
    }

    /// As [`Constraint::from_ifeval`], decided as Multi-IF's scorer decides it. Sentences and words are counted by the language that
    /// is detected, quotation marks may be those of Chinese and Japanese, and a response is checked unless it is empty, even where
    /// it is blank. Everything else is IFEval's. In JSON it has `"reading": "multi_if"`.
    ///
    /// # Errors
    /// As [`Constraint::from_ifeval`]. A keyword that is no regular expression is one, where Multi-IF's scorer takes every response
    /// for one that does not follow the instruction.
    pub fn from_multi_if(id: &str, kwargs: &Value) -> Result<Self, Error> {
        Self::from_instruction(id, kwargs, Reading::MultiIf)
    }

    fn from_instruction(id: &str, kwargs: &Value, reading: Reading) -> Result<Self, Error> {
        let kind = kinds::find_ifeval(id)?;
        let mut args = match kwargs {
            Value::Null => Map::new(),
            other => object(other)?.clone(),
        };
        args.retain(|_, value| !is_falsy(value));
        Self::build(kind, args, reading)
    }

    fn build(kind: &'static Kind, args: Map<String, Value>, reading: Reading) -> Result<Self, Error> {
        let parsed = (kind.build)(&Args::new(kind.id, kind.fields, &args, reading)?)?;
        Ok(Self { kind, args, reading, rule: parsed.rule, negated: parsed.negated })
    }

    /// The ids of all types that can be built.
    pub fn types() -> impl Iterator<Item = &'static str> {
        kinds::KINDS.iter().map(|kind| kind.id)
    }

    /// The id of this constraint's type.
    pub fn kind(&self) -> &'static str {
        self.kind.id
    }

    /// The JSON form, from which [`Constraint::from_json`] reads an equal constraint.
    pub fn to_json(&self) -> Value {
        let mut fields = Map::from_iter([("type".to_owned(), self.kind.id.into())]);
        fields.extend(self.args.clone());
        self.rule.state(&mut fields, self.negated);
        self.reading.state(&mut fields);
        fields.into()
    }

    /// Whether `response` satisfies the constraint, strictly. A [blank](crate::is_blank) response does not; as Multi-IF reads it,
    /// only an empty one.
    pub fn check(&self, response: &str) -> bool {
        self.reading.is_checked(response) && self.rule.holds(response) != self.negated
    }

    /// Whether any of the eight readings of IFEval's loose score satisfies the constraint: the
    /// response with and without its first line, its last line and its asterisks.
    ///
    /// The loose verdicts of a constraint and its reverse are no complements: both may be true.
    pub fn check_loose(&self, response: &str) -> bool {
        loose::variants(response).iter().any(|reading| !python::is_blank(reading) && self.check(reading))
    }

    /// The exact complement: on every text that is not blank exactly one of the two constraints holds.
    #[must_use]
    pub fn reverse(&self) -> Self {
        Self { negated: !self.negated, ..self.clone() }
    }

    /// One imperative English sentence that demands what the constraint checks.
    /// It quotes arguments as they are, so it holds a line break where an argument does.
    pub fn text(&self) -> String {
        self.rule.text(self.negated)
    }
}

impl PartialEq for Constraint {
    fn eq(&self, other: &Self) -> bool {
        self.to_json() == other.to_json()
    }
}

impl Eq for Constraint {}

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Constraint({})", self.to_json())
    }
}

fn object(value: &Value) -> Result<&Map<String, Value>, Error> {
    value.as_object().ok_or(Error::NotAnObject { found: json_kind(value) })
}

fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn ill_typed_flag(kind: &Kind, found: &Value) -> Error {
    Error::Field { kind: kind.id, field: "negated", cause: format!("must be true or false, found {found}") }
}

/// Whether Python takes the value for false.
fn is_falsy(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}
