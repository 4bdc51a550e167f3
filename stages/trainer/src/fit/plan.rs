//! Which pairs are trained on, in which order, and which are held out.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Error;
use crate::fit::Data;
use crate::loss::PreferenceLoss;
use crate::random::SplitMix64;

/// How a fixed set is walked through.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FitSettings {
    /// Times that every pair is trained on.
    pub epochs: u64,
    /// Updates, instead of epochs.
    pub steps: Option<u64>,
    /// Pairs per update. However many they are, they are computed in passes of `micro_tokens`: what other trainers call
    /// accumulation needs no setting.
    pub batch_size: usize,
    /// Whether every epoch has an order of its own.
    pub shuffle: bool,
    /// Share of the groups that is held out for validation; 0 is none.
    pub validation: f64,
    /// Updates between two validations; 0 validates at the end of every epoch.
    pub validate_every: u64,
    /// Validations without a lower loss after which the run stops; 0 never stops.
    pub patience: u64,
    /// Updates between two checkpoints.
    pub checkpoint_every: u64,
    /// Seed of the order and of the split.
    pub seed: u64,
}

impl Default for FitSettings {
    fn default() -> Self {
        Self {
            epochs: 1,
            steps: None,
            batch_size: 32,
            shuffle: true,
            validation: 0.0,
            validate_every: 0,
            patience: 0,
            checkpoint_every: 50,
            seed: 0,
        }
    }
}

impl FitSettings {
    fn check(&self) -> Result<(), Error> {
        let least_one = [
            ("epochs", self.epochs),
            ("steps", self.steps.unwrap_or(1)),
            ("batch_size", self.batch_size as u64),
            ("checkpoint_every", self.checkpoint_every),
        ];
        if let Some((field, _)) = least_one.into_iter().find(|(_, value)| *value == 0) {
            return Err(Error::field(field, "0 must be 1 or more"));
        }
        if !(0.0..=0.9).contains(&self.validation) {
            return Err(Error::field("validation", format!("{} must be from 0 to 0.9", self.validation)));
        }
        if self.patience > 0 && self.validation == 0.0 {
            return Err(Error::field("patience", "needs held-out pairs: set `validation`"));
        }
        Ok(())
    }
}

/// The split of a set and the order of its training part.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Updates in all.
    pub steps: u64,
    /// Updates in an epoch; the last has the pairs that are left.
    pub steps_per_epoch: u64,
    /// Pairs that are trained on, in units that stay together.
    pub units: Vec<Vec<usize>>,
    /// Pairs in every unit.
    unit: usize,
    /// Pairs that are held out.
    pub held: Vec<usize>,
    /// Pairs that the loss cannot use without a partner that is not there.
    pub single: Vec<usize>,
    settings: FitSettings,
}

impl Plan {
    /// Splits a set.
    ///
    /// # Errors
    /// Settings that make no sense, or a set with nothing to train on.
    pub fn new(data: &Data, settings: &FitSettings, loss: &dyn PreferenceLoss) -> Result<Self, Error> {
        settings.check()?;
        let (units, single) = loss.units(&data.pairs);
        let groups = joined(&data.groups, &units);
        let held_groups = held_groups(&units, &groups, settings)?;
        let is_held = |unit: &Vec<usize>| held_groups.contains(&groups[unit[0]]);
        let (held, units): (Vec<_>, Vec<_>) = units.into_iter().partition(is_held);
        let Some(unit) = units.first().map(Vec::len) else {
            return Err(Error::field("pairs", "none is left to train on"));
        };
        if !settings.batch_size.is_multiple_of(unit) {
            let reason = format!("{} is not a multiple of {unit}, the pairs that belong together", settings.batch_size);
            return Err(Error::field("batch_size", reason));
        }
        let steps_per_epoch = (units.len() * unit).div_ceil(settings.batch_size) as u64;
        let steps = settings.steps.unwrap_or(settings.epochs.saturating_mul(steps_per_epoch));
        let held = held.into_iter().flatten().collect();
        Ok(Self { steps, steps_per_epoch, units, unit, held, single, settings: settings.clone() })
    }

    /// The pairs of the update after `done` updates.
    pub fn batch(&self, done: u64) -> Vec<usize> {
        let (epoch, at) = (done / self.steps_per_epoch, (done % self.steps_per_epoch) as usize);
        let mut order: Vec<usize> = (0..self.units.len()).collect();
        if self.settings.shuffle {
            // An order can be found again without those of the epochs before it.
            SplitMix64::stream(self.settings.seed, epoch).shuffle(&mut order);
        }
        let units = order.chunks(self.settings.batch_size / self.unit).nth(at).unwrap_or_default();
        units.iter().flat_map(|unit| self.units[*unit].iter().copied()).collect()
    }

    /// Epochs begun and the share of the last one that is done, after `done` updates.
    pub fn epoch(&self, done: u64) -> f64 {
        done as f64 / self.steps_per_epoch as f64
    }

    /// Whether the held-out pairs are measured after `done` updates.
    pub fn validates(&self, done: u64) -> bool {
        let every = match self.settings.validate_every {
            0 => self.steps_per_epoch,
            every => every,
        };
        !self.held.is_empty() && (done.is_multiple_of(every) || done == self.steps)
    }
}

/// The group of every pair. Groups with pairs that stand together in a unit are one, under the least of their names.
fn joined<'a>(groups: &'a [String], units: &[Vec<usize>]) -> Vec<&'a str> {
    let mut names: BTreeMap<&str, &str> = groups.iter().map(|group| (group.as_str(), group.as_str())).collect();
    for unit in units.iter().filter(|unit| unit.len() > 1) {
        let roots: BTreeSet<&str> = unit.iter().map(|at| root(&names, &groups[*at])).collect();
        let least = roots.first().copied();
        least.into_iter().for_each(|least| names.extend(roots.iter().map(|root| (*root, least))));
    }
    groups.iter().map(|group| root(&names, group)).collect()
}

/// The name that a group goes by after all the joins so far.
fn root<'a>(names: &BTreeMap<&'a str, &'a str>, group: &'a str) -> &'a str {
    let mut name = group;
    while names[name] != name {
        name = names[name];
    }
    name
}

/// The groups that are held out: as many as the share says, at least one, and never all.
fn held_groups<'a>(
    units: &[Vec<usize>],
    groups: &[&'a str],
    settings: &FitSettings,
) -> Result<BTreeSet<&'a str>, Error> {
    if settings.validation == 0.0 {
        return Ok(BTreeSet::new());
    }
    let all: BTreeSet<&str> = units.iter().map(|unit| groups[unit[0]]).collect();
    let mut all: Vec<&str> = all.into_iter().collect();
    if all.len() == 1 {
        return Err(Error::field("validation", "all pairs are of one dialogue or prompt, which cannot be torn apart"));
    }
    SplitMix64(settings.seed ^ 0x5eed).shuffle(&mut all);
    let wanted = (settings.validation * all.len() as f64).round() as usize;
    let held = wanted.clamp(1, all.len().saturating_sub(1).max(1));
    Ok(all.into_iter().take(held).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::{Dpo, Iopo};
    use crate::pair::TokenPair;

    const DPO: Dpo = Dpo { beta: 0.1, label_smoothing: 0.0 };

    fn data(count: u32) -> Data {
        let pair = |id| TokenPair { prompt: vec![id], chosen: vec![id], rejected: vec![id + 1], gap: 1.0 };
        let groups = (0..count).map(|id| format!("dialogue {}", id / 3)).collect();
        Data { pairs: (0..count).map(pair).collect(), groups }
    }

    #[test]
    fn every_epoch_has_every_pair_in_an_order_of_its_own() {
        let settings = FitSettings { epochs: 2, batch_size: 4, ..FitSettings::default() };
        let plan = Plan::new(&data(10), &settings, &DPO).unwrap();
        assert_eq!((plan.steps, plan.steps_per_epoch), (6, 3));
        let epoch = |first: u64| (first..first + 3).flat_map(|done| plan.batch(done)).collect::<Vec<_>>();
        let (one, two) = (epoch(0), epoch(3));
        assert_ne!(one, two);
        for mut order in [one, two] {
            order.sort_unstable();
            assert_eq!(order, (0..10).collect::<Vec<_>>());
        }
        assert_eq!(plan.batch(2).len(), 2);
        let plan = Plan::new(&data(10), &FitSettings { shuffle: false, ..settings }, &DPO).unwrap();
        assert_eq!((plan.batch(0), plan.batch(4)), (vec![0, 1, 2, 3], vec![4, 5, 6, 7]));
    }

    #[test]
    fn groups_are_not_torn_apart() {
        let settings = FitSettings { validation: 0.25, batch_size: 2, ..FitSettings::default() };
        let plan = Plan::new(&data(12), &settings, &DPO).unwrap();
        assert_eq!((plan.held.len(), plan.units.len()), (3, 9));
        assert!(plan.held.iter().all(|at| at / 3 == plan.held[0] / 3));
        assert_eq!([4, 5, 9, 10].map(|done| plan.validates(done)), [false, true, false, true]);
        let most = Plan::new(&data(6), &FitSettings { validation: 0.9, ..settings.clone() }, &DPO).unwrap();
        assert_eq!((most.held.len(), most.units.len()), (3, 3), "all groups were held out");
        let one = Plan::new(&data(3), &settings, &DPO).unwrap_err().to_string();
        assert!(one.starts_with("validation: all pairs are of one dialogue"), "{one}");
    }

    /// Dialogues 0 and 1 are joined by a couple, as are 1 and 3: they are held out together or not at all.
    #[test]
    fn groups_that_share_a_unit_are_one() {
        let mut data = data(12);
        let mirror = |TokenPair { prompt, chosen, rejected, gap }: TokenPair| TokenPair {
            prompt,
            chosen: rejected,
            rejected: chosen,
            gap,
        };
        for (pair, other) in [(0, 3), (4, 9), (1, 2), (6, 7), (10, 11)] {
            data.pairs[other] = mirror(data.pairs[pair].clone());
        }
        let held = |seed| {
            let settings = FitSettings { validation: 0.5, batch_size: 2, seed, ..FitSettings::default() };
            let mut held = Plan::new(&data, &settings, &Iopo { beta: 0.1 }).unwrap().held;
            held.sort_unstable();
            held
        };
        let found: BTreeSet<Vec<usize>> = (0..20).map(held).collect();
        assert_eq!(found, [vec![0, 1, 2, 3, 4, 9, 10, 11], vec![6, 7]].into());
    }

    #[test]
    fn mirrored_pairs_stay_together() {
        let mut data = data(7);
        for (pair, mirror) in [(0, 5), (2, 3)] {
            let TokenPair { chosen, rejected, .. } = data.pairs[pair].clone();
            data.pairs[mirror] = TokenPair { chosen: rejected, rejected: chosen, ..data.pairs[mirror].clone() };
        }
        let settings = FitSettings { batch_size: 2, ..FitSettings::default() };
        let plan = Plan::new(&data, &settings, &Iopo { beta: 0.1 }).unwrap();
        assert_eq!(plan.single, [1, 4, 6]);
        let mut couples = [plan.batch(0), plan.batch(1)];
        couples.sort_unstable();
        assert_eq!(couples, [vec![0, 5], vec![2, 3]]);
        let odd = FitSettings { batch_size: 3, ..settings };
        assert!(Plan::new(&data, &odd, &Iopo { beta: 0.1 }).unwrap_err().to_string().contains("multiple of 2"));
    }

    #[test]
    fn senseless_settings_are_named() {
        let refused = |settings| Plan::new(&data(4), &settings, &DPO).unwrap_err().to_string();
        let default = FitSettings::default;
        assert!(refused(FitSettings { epochs: 0, ..default() }).starts_with("epochs"));
        assert!(refused(FitSettings { validation: 1.0, ..default() }).starts_with("validation"));
        assert!(refused(FitSettings { patience: 2, ..default() }).starts_with("patience"));
        assert!(Plan::new(&Data::default(), &default(), &DPO).unwrap_err().to_string().contains("none is left"));
    }
}
