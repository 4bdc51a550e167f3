//! Why a constraint could not be built.

/// Why a constraint could not be built. Each message names the type, the field and the cause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The constraint or its arguments are not a JSON object.
    #[error("a constraint must be a JSON object, found {found}")]
    NotAnObject {
        /// The kind of JSON value found instead.
        found: &'static str,
    },
    /// The field `type` is missing or is no string.
    #[error("a constraint needs a field `type` that holds a string")]
    NoType,
    /// No constraint type has this name.
    #[error("unknown constraint type `{name}`; the nearest known type is `{nearest}`")]
    UnknownType {
        /// The name as given.
        name: String,
        /// The known type whose name is most similar.
        nearest: &'static str,
    },
    /// A field that the type does not have.
    #[error("constraint type `{kind}` has no field `{field}`; {known}")]
    UnknownField {
        /// The constraint type.
        kind: &'static str,
        /// The field as given.
        field: String,
        /// What the type's fields are, in words.
        known: String,
    },
    /// A field that the type needs is missing.
    #[error("constraint type `{kind}` needs the field `{field}`")]
    MissingField {
        /// The constraint type.
        kind: &'static str,
        /// The field that is missing.
        field: &'static str,
    },
    /// A field holds a value that the type cannot take.
    #[error("constraint type `{kind}`, field `{field}`: {cause}")]
    Field {
        /// The constraint type.
        kind: &'static str,
        /// The field.
        field: &'static str,
        /// What is wrong with its value.
        cause: String,
    },
    /// Parameters of the sentence splitter that cannot be read or come too late.
    #[error("parameters of the sentence splitter: {cause}")]
    Punkt {
        /// What is wrong with them.
        cause: String,
    },
}
