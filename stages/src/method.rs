//! Which stage of a plan made a model, and with which method: stages that a grid makes differ in one setting.

use obvert_engine::pipeline::Plan;

use crate::train::{BASE, stage_of};

/// The stages of a plan that train.
pub(crate) struct Methods {
    stages: Vec<String>,
    /// The setting in which stages of one method may differ.
    over: Option<String>,
}

impl Methods {
    pub(crate) fn of(plan: &Plan, over: Option<String>) -> Self {
        let training = plan.stages.iter().filter(|stage| stage.kind == "train");
        Methods { stages: training.map(|stage| stage.name.clone()).collect(), over }
    }

    #[cfg(test)]
    pub(crate) fn new(stages: &[&str], over: Option<&str>) -> Self {
        Methods { stages: stages.iter().map(|stage| stage.to_string()).collect(), over: over.map(str::to_owned) }
    }

    /// The method that made a model, which is the version of its adapter.
    pub(crate) fn method<'m>(&'m self, model: &'m str) -> &'m str {
        let only = || self.stages.first().filter(|_| self.stages.len() == 1 && is_hash(model));
        only().map_or_else(|| method_of(model, self.over.as_deref()), String::as_str)
    }

    /// Where a model stands among others: behind the base, in the plan's order.
    pub(crate) fn rank(&self, model: &str) -> (bool, usize, String) {
        let place = self.stages.iter().position(|stage| stage == stage_of(model));
        (model != BASE, place.unwrap_or(self.stages.len()), model.to_owned())
    }
}

/// The method of a version: its stage, without what a grid over that setting has put behind its name.
pub fn method_of<'v>(version: &'v str, over: Option<&str>) -> &'v str {
    let stage = stage_of(version);
    let behind = over.and_then(|key| stage.find(&format!("-{key}-")));
    behind.map_or(stage, |at| &stage[..at])
}

fn is_hash(model: &str) -> bool {
    model.len() == 16 && model.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_a_stage_without_what_was_chosen() {
        let chosen = Methods::new(&["dpo-lr-4e-3", "rpo-lr-4e-3"], Some("lr"));
        assert_eq!(chosen.method("dpo-lr-4e-3-0123456789abcdef"), "dpo");
        assert_eq!(chosen.method("base"), "base");
        assert_eq!(chosen.method("policy@base"), "policy@base");
        let plain = Methods::new(&["train"], None);
        assert_eq!((plain.method("0123456789abcdef"), plain.method("base")), ("train", "base"));
    }

    #[test]
    fn the_base_is_first_and_others_follow_the_plan() {
        let methods = Methods::new(&["sft", "dpo"], None);
        let mut models = ["dpo-0123456789abcdef", "judge", "sft-0123456789abcdef", "base"];
        models.sort_by_key(|model| methods.rank(model));
        assert_eq!(models, ["base", "sft-0123456789abcdef", "dpo-0123456789abcdef", "judge"]);
    }
}
