//! Turns a pipeline file into a checked plan and runs it as one incremental dataflow.

pub mod pipeline;
