//! What can go wrong on a machine, with what it was doing.

/// An error of a machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Memory ran out.
    #[error(
        "out of device memory: {what} takes {bytes} bytes; fewer `micro_tokens`, `activations = \"recompute\"` or a quantised model \
         with `storage = \"file\"` take less"
    )]
    OutOfMemory {
        /// What was being allocated.
        what: String,
        /// Its size.
        bytes: usize,
    },
    /// A kernel could not be launched, or failed.
    #[error("kernel {kernel} on {shape}: {cause}")]
    Kernel {
        /// The kernel.
        kernel: &'static str,
        /// Grid, threads, shared memory and scalar arguments.
        shape: String,
        /// What the machine says.
        cause: String,
    },
    /// A kernel's source could not be compiled.
    #[error("{file}: {log}")]
    Source {
        /// The file.
        file: String,
        /// What the compiler says.
        log: String,
    },
    /// The machine could not be started, or does not answer.
    #[error("{machine}: {cause}")]
    Machine {
        /// The machine.
        machine: String,
        /// What it says.
        cause: String,
    },
}
