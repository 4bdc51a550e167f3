//! The kernels' sources.

/// A source: one operation.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// The file's name without `.cu`.
    pub name: &'static str,
    /// Its text; [`COMMON`] goes in front of it.
    pub text: &'static str,
}

/// What all sources share.
pub const COMMON: &str = include_str!("../../kernels/common.cuh");

macro_rules! sources {
    ($($name:literal),* $(,)?) => {
        /// All of them.
        pub const SOURCES: &[Source] =
            &[$(Source { name: $name, text: include_str!(concat!("../../kernels/", $name, ".cu")) }),*];
    };
}

sources![
    "adamw",
    "attention",
    "dequantise",
    "embed",
    "logprob",
    "lora",
    "margin",
    "rmsnorm",
    "rope",
    "sample",
    "swiglu"
];

/// The names of a source's kernels, in order.
pub fn kernels(text: &str) -> impl Iterator<Item = &str> {
    // A line that begins a kernel: its attributes, its name, its parameters.
    let begins = text.lines().filter_map(|line| line.strip_prefix("extern \"C\" __global__ "));
    begins.filter_map(|line| line.split_once("void ")?.1.split('(').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_found_with_and_without_bounds() {
        let text = "extern \"C\" __global__ void one(int n) {\n}\n\nextern \"C\" __global__ __launch_bounds__(256) void two(\n";
        assert_eq!(kernels(text).collect::<Vec<_>>(), ["one", "two"]);
    }
}
