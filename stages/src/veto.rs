//! `veto`: sets pairs aside that somebody does not want. They are counted as rejected (and so towards `run.max_failures`), and
//! stand in `rejected.jsonl` with the reason.

use obvert_api::record::{Pair, Veto};
use obvert_api::{Error, Group, Output, Reply};
use schemars::JsonSchema;
use serde::Deserialize;

/// `veto` has no settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vetoes {}

impl Group for Vetoes {
    const NAME: &'static str = "veto";
    type In = Pair;
    type With = Veto;
    type Out = Pair;
    const WITHIN_ROW: bool = true;

    fn key(&self, pair: &Pair) -> String {
        pair.id.clone()
    }

    fn looks_up(&self, pair: &Pair) -> Option<String> {
        Some(pair.id.clone())
    }

    fn with_key(&self, veto: &Veto) -> String {
        veto.pair.clone()
    }

    fn group(
        &self,
        _: &str,
        pairs: Vec<Pair>,
        vetoes: Vec<Veto>,
        _: &[Reply],
        out: &mut Output<Pair>,
    ) -> Result<(), Error> {
        if let Some(veto) = vetoes.first() {
            return Err(Error(format!("vetoed: {}", veto.reason)));
        }
        pairs.into_iter().for_each(|pair| out.emit(pair));
        Ok(())
    }
}
