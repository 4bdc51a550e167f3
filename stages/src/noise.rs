//! `noise`: turns some verdicts around, to measure what a judge's mistakes cost.

use obvert_api::record::{Judged, Verdict, draw};
use obvert_api::{Error, Map, Output, Reply};
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of `noise`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Noise {
    /// Share of the verdicts that are turned around, each drawn by itself.
    #[schemars(range(min = 0.0, max = 1.0))]
    share: f64,
    /// Seed of the draws.
    #[serde(default)]
    seed: u64,
}

impl Map for Noise {
    const NAME: &'static str = "noise";
    type In = Judged;
    type Out = Judged;

    fn map(&self, mut judged: Judged, _: &[Reply], out: &mut Output<Judged>) -> Result<(), Error> {
        let place = judged.response.place();
        for verdict in &mut judged.verdicts {
            if let (true, Some(satisfied)) = (self.falls(&place, verdict), verdict.satisfied) {
                verdict.satisfied = Some(!satisfied);
                verdict.by = format!("noise on {}", verdict.by);
            }
        }
        out.emit(judged);
        Ok(())
    }
}

impl Noise {
    fn falls(&self, place: &str, verdict: &Verdict) -> bool {
        draw(&["noise", place, &verdict.constraint, &self.seed.to_string()]) < self.share
    }
}

#[cfg(test)]
mod tests {
    use obvert_api::testing::{map, replies};
    use serde_json::json;

    use super::*;
    use crate::sample::judged;

    #[test]
    fn so_many_verdicts_are_turned_around_and_say_so() {
        let turned = |share: f64| -> usize {
            let of = |sample| {
                map::<Noise>(json!({ "share": share }), judged(sample, &[Some(true), Some(false), None]), replies([]))
                    .unwrap()
                    .records
            };
            let all = (0..500).flat_map(of).flat_map(|judged| judged.verdicts);
            let is = |verdict: &Verdict| match verdict.constraint.as_str() {
                "c2" => verdict.satisfied.is_some(),
                id => verdict.satisfied != Some(id == "c0"),
            };
            all.filter(|verdict| is(verdict) && verdict.by == "noise on judge").count()
        };
        assert_eq!((turned(0.0), turned(1.0)), (0, 1000));
        assert!((70..130).contains(&turned(0.1)), "{}", turned(0.1));
    }
}
