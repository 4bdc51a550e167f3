//! How much may fail before a run is not worth going on with.

/// Items from which on a stage's share of failures means something.
const ENOUGH: i64 = 100;

/// What is allowed to fail.
pub(super) struct Budget {
    /// Items of all stages together.
    pub(super) failures: u64,
    /// Share of each stage's items, from the hundredth on.
    pub(super) share: f64,
}

impl Budget {
    /// Why a run has to stop; stages by name, with the items that they have handled and those that they set aside of them.
    pub(super) fn exceeded<'a>(&self, stages: impl Iterator<Item = (&'a str, (i64, i64))> + Clone) -> Option<String> {
        let all: i64 = stages.clone().map(|(_, (_, rejected))| rejected).sum();
        if u64::try_from(all).is_ok_and(|all| all > self.failures) {
            let limit = self.failures;
            return Some(format!("{all} items were rejected (see rejected.jsonl), run.max_failures is {limit}"));
        }
        let too_many = |&(_, (handled, rejected)): &(&str, (i64, i64))| {
            handled >= ENOUGH && rejected as f64 > self.share * handled as f64
        };
        let (name, (handled, rejected)) = stages.into_iter().find(too_many)?;
        let limit = self.share;
        Some(format!(
            "{rejected} of the {handled} items of stage `{name}` were rejected (see rejected.jsonl), run.max_failure_share is {limit}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stage's name, the items that it handled, and those of them that it set aside.
    type Handled = (&'static str, (i64, i64));

    /// The stage that is named, if the run has to stop.
    fn stopped(failures: u64, share: f64, stages: &[Handled]) -> Option<&'static str> {
        let cause = Budget { failures, share }.exceeded(stages.iter().copied())?;
        Some(stages.iter().map(|(name, _)| *name).find(|name| cause.contains(&format!("`{name}`"))).unwrap_or("run"))
    }

    #[test]
    fn the_budget_is_kept_to_the_item() {
        let cases: [(u64, f64, &[Handled], Option<&str>); 9] = [
            (0, 1.0, &[("a", (5, 0))], None),
            (0, 1.0, &[("a", (5, 1))], Some("run")),
            (3, 1.0, &[("a", (5, 2)), ("b", (9, 1))], None),
            (3, 1.0, &[("a", (5, 2)), ("b", (9, 2))], Some("run")),
            (u64::MAX, 0.1, &[("a", (99, 99))], None),
            (u64::MAX, 0.1, &[("a", (100, 10))], None),
            (u64::MAX, 0.1, &[("a", (100, 11))], Some("a")),
            (u64::MAX, 0.1, &[("a", (1000, 0)), ("b", (200, 21))], Some("b")),
            (u64::MAX, 0.0, &[("a", (100, 1))], Some("a")),
        ];
        for (failures, share, stages, expected) in cases {
            assert_eq!(stopped(failures, share, stages), expected, "{failures} {share} {stages:?}");
        }
    }
}
