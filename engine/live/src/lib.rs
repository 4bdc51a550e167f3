//! What a run tells of itself in its folder while it goes, who reads it, and what people tell the run.

mod asked;
mod beat;
mod board;
pub mod figures;
mod flow;
#[cfg(feature = "otel")]
pub mod otel;
#[cfg(feature = "page")]
pub mod page;
pub mod records;
mod reporter;
mod tap;
mod top;
mod watch;

pub use asked::{Ask, ask};
pub use board::{Board, Stage, State, Training};
pub use flow::{Flow, HeldUp};
pub use reporter::{Reporter, Run};
pub use tap::tap;
pub use top::top;
pub use watch::Watch;
