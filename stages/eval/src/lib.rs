//! Scores of benchmarks as their own scorers count, and tables of them over several runs. Pure: rows in, figures out.

mod accuracies;
pub mod adherence;
mod bootstrap;
pub mod ifeval;
pub mod multi_if;
pub mod sysbench;
pub mod table;

pub use accuracies::Accuracies;
pub use bootstrap::Estimate;

/// What is wrong with the rows of a benchmark.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{row}: {cause}")]
pub struct Error {
    /// Which row.
    pub row: String,
    /// What is wrong with it.
    pub cause: String,
}

impl Error {
    fn of(row: impl Into<String>, cause: impl Into<String>) -> Self {
        Error { row: row.into(), cause: cause.into() }
    }
}
