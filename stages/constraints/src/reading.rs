//! The public scorers of IFEval's types, where they differ.

use serde_json::{Map, Value};

use crate::error::Error;
use crate::kinds::{self, Kind};
use crate::python;

/// Whose scorer decides.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Reading {
    /// IFEval (arXiv 2311.07911).
    #[default]
    Ifeval,
    /// Multi-IF (arXiv 2410.15553).
    MultiIf,
}

impl Reading {
    /// The field of a constraint's JSON form that names it.
    pub const FIELD: &str = "reading";
    const MULTI_IF: &str = "multi_if";

    /// Reads the field of a constraint of type `kind`.
    pub fn from_json(kind: &Kind, value: &Value) -> Result<Self, Error> {
        let refuse = |cause: String| Err(Error::Field { kind: kind.id, field: Self::FIELD, cause });
        match value.as_str() {
            _ if !kinds::is_ifeval(kind) => refuse("only the types of IFEval are read in more than one way".into()),
            Some(Self::MULTI_IF) => Ok(Self::MultiIf),
            _ => refuse(format!("must be \"{}\" or not there, found {value}", Self::MULTI_IF)),
        }
    }

    /// Puts the field into `fields`, unless it is the usual one.
    pub fn state(self, fields: &mut Map<String, Value>) {
        if self == Self::MultiIf {
            fields.insert(Self::FIELD.into(), Self::MULTI_IF.into());
        }
    }

    /// Whether `response` is looked at; one that is not satisfies nothing.
    pub fn is_checked(self, response: &str) -> bool {
        match self {
            Self::Ifeval => !python::is_blank(response),
            Self::MultiIf => !response.is_empty(),
        }
    }
}
