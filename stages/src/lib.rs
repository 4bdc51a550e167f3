//! The built-in stages, one per file.

mod benchmark;
pub mod beside;
mod choose;
mod correct;
pub mod diversity;
mod exam;
mod findings;
mod ifeval;
mod jsonl;
mod method;
mod multi_if;
mod next;
mod noise;
mod online;
pub mod output;
mod pair_set;
mod pairs;
mod policy;
mod respond;
#[cfg(test)]
mod sample;
mod scores;
mod session;
mod session_profile;
mod source;
mod sysbench;
mod train;
mod veto;

pub use benchmark::{Benchmark, Cell, Grid};
pub use findings::{Examined, Findings, Found, SetOfPairs, Skipped, Training};
pub use method::method_of;
pub use pairs::Terms;
pub use policy::{Policy, Shelf};
pub use source::{add_source, read_rows};
pub use train::{Trained, Update, leave_untrained, trained, updates_of};

use std::sync::Arc;

use obvert_api::erased::{create_group, create_map, group_manifest, map_manifest};
use obvert_api::{Group, Map};
use obvert_engine::Registry;

/// Adds all built-in stages and the model kind `local`; what views find out goes to `findings`.
pub fn register(registry: &mut Registry, findings: &Findings) {
    let shelf = Shelf::default();
    policy::register(registry, &shelf);
    source::register(registry);
    let session = add_group::<session::Sessions>(registry);
    (session.admits, session.sides_first) = (true, true);
    add_map::<respond::Respond>(registry);
    add_group::<next::Next>(registry).closes_loop = true;
    add_map::<noise::Noise>(registry);
    add_group::<exam::Exam>(registry);
    add_group::<choose::Choose>(registry);
    let online = add_group::<online::Online>(registry);
    online.lag = Some(online::lag);
    online.check = Some(Arc::new(online::check));
    add_map::<ifeval::IfevalSessions>(registry).admits = true;
    add_map::<multi_if::MultiIfSessions>(registry).admits = true;
    add_group::<multi_if::MultiIfJudged>(registry);
    add_map::<multi_if::MultiIfResponses>(registry);
    add_map::<session_profile::SessionProfile>(registry);
    add_map::<sysbench::SysbenchProfiles>(registry);
    add_group::<sysbench::SysbenchJudged>(registry);
    add_map::<sysbench::SysbenchSessions>(registry).admits = true;
    add_group::<sysbench::SysbenchJudge>(registry);
    add_map::<sysbench::SysbenchVerdicts>(registry);
    add_group::<correct::Correct>(registry);
    add_group::<veto::Vetoes>(registry);
    jsonl::register(registry);
    pairs::register(registry, findings);
    train::register(registry, &shelf, findings);
    scores::register(registry, findings);
    benchmark::register(registry, findings);
    diversity::register(registry, findings);
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn add_map<M: Map>(registry: &mut Registry) -> &mut obvert_engine::registry::Entry {
    registry.add_linked((map_manifest::<M>(VERSION), create_map::<M>))
}

fn add_group<G: Group>(registry: &mut Registry) -> &mut obvert_engine::registry::Entry {
    registry.add_linked((group_manifest::<G>(VERSION), create_group::<G>))
}
