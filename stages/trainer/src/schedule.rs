//! The learning rate over the steps of a run, as Hugging Face's schedulers compute it.

/// The shape after warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// The full rate to the end.
    Constant,
    /// Half a cosine from the full rate to zero.
    #[default]
    Cosine,
    /// A straight line from the full rate to zero.
    Linear,
}

impl Schedule {
    /// The factor of the learning rate for the update after `done` updates, of `total`. Warm-up rises linearly
    /// from 0 over ⌈`warmup_ratio` · total⌉ updates, but not over all of them: a run of one update learns.
    pub fn factor(self, done: u64, total: u64, warmup_ratio: f64) -> f64 {
        let warmup = (warmup_ratio * total as f64).ceil().min(total.saturating_sub(1) as f64);
        let done = done as f64;
        if done < warmup {
            return done / warmup;
        }
        let progress = ((done - warmup) / (total as f64 - warmup).max(1.0)).min(1.0);
        match self {
            Self::Constant => 1.0,
            Self::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            Self::Linear => 1.0 - progress,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warms_up_and_falls() {
        let rate = |done| Schedule::Cosine.factor(done, 10, 0.2);
        let expected = [0.0, 0.5, 1.0];
        assert_eq!([rate(0), rate(1), rate(2)], expected);
        assert!((rate(6) - 0.5).abs() < 1e-12);
        assert!(rate(10) < 1e-12 && rate(99) < 1e-12);
        assert_eq!([2, 4, 10, 11].map(|done| Schedule::Linear.factor(done, 10, 0.2)), [1.0, 0.75, 0.0, 0.0]);
        assert_eq!(Schedule::Constant.factor(7, 10, 0.0), 1.0);
        assert_eq!(Schedule::Constant.factor(1, 10, 0.4), 0.25);
    }

    #[test]
    fn warm_up_leaves_an_update() {
        for schedule in [Schedule::Constant, Schedule::Cosine, Schedule::Linear] {
            assert_eq!(schedule.factor(0, 1, 0.1), 1.0);
            assert_eq!([0, 1].map(|done| schedule.factor(done, 2, 0.1)), [0.0, 1.0]);
            assert_eq!([1, 2].map(|done| schedule.factor(done, 3, 1.0)), [0.5, 1.0]);
        }
    }
}
