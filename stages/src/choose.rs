//! `choose`: of the adapters that differ in one setting the one that does best on dialogues kept for that.
//!
//! So every method gets the learning rate that suits it, and what is reported is measured on dialogues that chose nothing.

use std::collections::BTreeMap;

use obvert_api::record::{Adapter, Judged};
use obvert_api::{Error, Group, Nothing, Output, Reply};
use obvert_eval::table::mean_of_three;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::method::method_of;
use crate::scores::{Dialogue, answer, scored};

/// Settings of `choose`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Choose {
    /// The setting that stands last in a grid, such as `lr`: adapters of stages that differ in it alone stand to choice.
    over: String,
}

/// An adapter's answers by dialogue and sample.
type Answers = BTreeMap<(String, u32), Dialogue>;

impl Group for Choose {
    const NAME: &'static str = "choose";
    type In = Judged;
    type With = Nothing;
    type Out = Adapter;

    fn key(&self, judged: &Judged) -> String {
        let adapter = judged.response.turn.session.adapter.as_ref();
        adapter.map(|adapter| method_of(&adapter.version, Some(&self.over)).to_owned()).unwrap_or_default()
    }

    fn group(
        &self,
        _: &str,
        judged: Vec<Judged>,
        _: Vec<Nothing>,
        _: &[Reply],
        out: &mut Output<Adapter>,
    ) -> Result<(), Error> {
        let mut candidates: BTreeMap<String, (Adapter, Answers)> = BTreeMap::new();
        for judged in judged {
            let session = &judged.response.turn.session;
            let adapter = session.adapter.clone().ok_or_else(|| {
                Error(format!("dialogue {} is not answered by an adapter: `exam` gives it one", session.dialogue))
            })?;
            let (_, answers) = candidates.entry(adapter.version.clone()).or_insert((adapter, Answers::new()));
            let dialogue = answers.entry((session.dialogue.clone(), judged.response.sample)).or_default();
            dialogue.insert(session.turn, answer(&judged));
        }
        // By the mean of CSR, ISR and SSR. Of equals the first by its name, so that the choice depends on nothing else.
        let ranked =
            candidates.into_values().map(|(adapter, answers)| (mean_of_three(&scored(answers.into_values())), adapter));
        let best = ranked.reduce(|best, next| if next.0 > best.0 { next } else { best });
        best.into_iter().for_each(|(_, adapter)| out.emit(adapter));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use obvert_api::testing::{group, replies};
    use serde_json::json;

    use super::*;
    use crate::sample;

    fn judged(version: &str, dialogue: u32, satisfied: bool) -> Judged {
        let mut judged = sample::judged(0, &[Some(satisfied)]);
        let session = &mut judged.response.turn.session;
        session.dialogue = dialogue.to_string();
        session.adapter = Some(Adapter { version: version.into(), path: String::new(), steps: 1 });
        judged
    }

    #[test]
    fn of_every_method_the_best_is_chosen() {
        let version = |stage: &str| format!("{stage}-0123456789abcdef");
        let met = [("dpo-lr-1e-3", 1), ("dpo-lr-2e-3", 3), ("dpo-lr-4e-3", 3), ("rpo-lr-1e-3", 0), ("rpo-lr-2e-3", 2)];
        let mut all: Vec<Judged> = (0..4).map(|n| judged("base", n, true)).collect();
        for (stage, met) in met {
            all.extend((0..4).map(|n| judged(&version(stage), n, n < met)));
        }
        let made = group::<Choose>(json!({ "over": "lr" }), all, Vec::new(), replies([])).unwrap();
        let chosen: Vec<_> = made.into_values().flat_map(|of| of.records).map(|adapter| adapter.version).collect();
        assert_eq!(chosen, ["base".to_owned(), version("dpo-lr-2e-3"), version("rpo-lr-2e-3")]);
    }
}
