//! Where a run is computed.

use std::fmt::{self, Display};
use std::str::FromStr;

/// A machine's threads, or one of its GPUs. Written as `cpu`, `cuda:N` or `auto`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Place {
    /// The first GPU; this machine's threads where there is none.
    Auto,
    /// This machine's threads: the default.
    #[default]
    Cpu,
    /// A GPU by its number.
    Cuda(usize),
}

impl Place {
    /// Where that is on this machine: never [`Place::Auto`].
    pub fn found(self) -> Self {
        match self {
            Self::Auto if gpus() > 0 => Self::Cuda(0),
            Self::Auto => Self::Cpu,
            place => place,
        }
    }

    /// The place of process number `index` among several on a machine, each of which wants a GPU of its own where there are some.
    pub fn nth(self, index: usize) -> Self {
        match self.found() {
            Self::Cuda(_) => Self::Cuda(index % gpus().max(1)),
            place => place,
        }
    }

    /// Bytes of memory that are free there, where that is a GPU; without end elsewhere.
    ///
    /// # Errors
    /// There is no such GPU.
    pub fn free_memory(self) -> Result<usize, crate::Error> {
        match self.found() {
            #[cfg(feature = "cuda")]
            Self::Cuda(number) => Ok(obvert_device::cuda::Cuda::free_memory(number)?),
            _ => Ok(usize::MAX),
        }
    }
}

/// GPUs that can be computed on.
fn gpus() -> usize {
    #[cfg(feature = "cuda")]
    return obvert_device::cuda::Cuda::count();
    #[cfg(not(feature = "cuda"))]
    0
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.strip_prefix("cuda:")?.parse().ok();
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            _ => {
                number(text).map(Self::Cuda).ok_or_else(|| format!("{text:?} is none of auto, cpu, cuda:0, cuda:1, …"))
            }
        }
    }
}

impl TryFrom<String> for Place {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl From<Place> for String {
    fn from(place: Place) -> Self {
        place.to_string()
    }
}

impl schemars::JsonSchema for Place {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Place".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^(auto|cpu|cuda:[0-9]+)$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        for (text, place) in [("auto", Place::Auto), ("cpu", Place::Cpu), ("cuda:3", Place::Cuda(3))] {
            assert_eq!((text.parse(), place.to_string()), (Ok(place), text.to_owned()));
        }
        for text in ["", "gpu", "cuda", "cuda:", "cuda:-1", "CPU"] {
            assert!(text.parse::<Place>().unwrap_err().contains("none of auto, cpu, cuda:0"), "{text}");
        }
    }
}
