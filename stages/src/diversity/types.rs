//! Types of constraints: which there are, in how many profiles, and how often each is satisfied.

use std::collections::{BTreeMap, BTreeSet};

use obvert_api::record::{Constraint, Judged, Profile};
use serde::Serialize;

/// What is known of a type.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TypeRow {
    /// The type: what a program checks, such as `words`, or the group that a constraint's id names, such as `style` of `style-4`, or
    /// `judged`.
    pub name: String,
    /// Share of the profiles that have such a constraint, 0 to 1.
    pub coverage: f64,
    /// Constraints of it in all profiles.
    pub constraints: u64,
    /// Verdicts that say yes.
    pub satisfied: u64,
    /// Verdicts that say no.
    pub violated: u64,
    /// Verdicts that say neither.
    pub not_applicable: u64,
}

/// Counts by type.
#[derive(Default)]
pub(super) struct Types(BTreeMap<String, Counts>);

#[derive(Default, PartialEq, Eq)]
struct Counts {
    profiles: i64,
    constraints: i64,
    /// Verdicts: yes, no, neither.
    verdicts: [i64; 3],
}

impl Types {
    /// Counts a profile that came (1), went (−1), or was there (0).
    pub(super) fn profile(&mut self, profile: &Profile, came: i64) {
        if came == 0 {
            return;
        }
        let names: BTreeSet<&str> = profile.constraints.iter().map(name_of).collect();
        names.into_iter().for_each(|name| self.change(name, |counts| counts.profiles += came));
        profile.constraints.iter().for_each(|c| self.change(name_of(c), |counts| counts.constraints += came));
    }

    /// Counts the verdicts on a response that came (1) or went (−1).
    pub(super) fn verdicts(&mut self, judged: &Judged, diff: i64) {
        let profile = &judged.response.turn.session.profile;
        for verdict in &judged.verdicts {
            let of = match verdict.satisfied {
                Some(true) => 0,
                Some(false) => 1,
                None => 2,
            };
            if let Some(constraint) = profile.constraint(&verdict.constraint) {
                self.change(name_of(constraint), |counts| counts.verdicts[of] += diff);
            }
        }
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut Counts)) {
        let counts = self.0.entry(name.to_owned()).or_default();
        change(counts);
        if *counts == Counts::default() {
            self.0.remove(name);
        }
    }

    /// One row per type, the most frequent first.
    pub(super) fn rows(&self, profiles: u64) -> Vec<TypeRow> {
        let known = |count: i64| u64::try_from(count).unwrap_or_default();
        let row = |(name, counts): (&String, &Counts)| TypeRow {
            name: name.clone(),
            coverage: counts.profiles as f64 / profiles.max(1) as f64,
            constraints: known(counts.constraints),
            satisfied: known(counts.verdicts[0]),
            violated: known(counts.verdicts[1]),
            not_applicable: known(counts.verdicts[2]),
        };
        let mut rows: Vec<TypeRow> = self.0.iter().map(row).collect();
        rows.sort_by_key(|row| (std::cmp::Reverse(row.constraints), row.name.clone()));
        rows
    }
}

/// The type of a constraint.
pub(crate) fn name_of(constraint: &Constraint) -> &str {
    let checked = constraint.check.as_ref().and_then(|check| check.0["type"].as_str());
    let group = constraint.id.rsplit_once('-').filter(|(_, number)| number.bytes().all(|byte| byte.is_ascii_digit()));
    checked.or(group.map(|(group, _)| group)).unwrap_or("judged")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_what_is_checked_or_what_the_id_says() {
        let name = |id: &str, check: Option<serde_json::Value>| {
            let check = check.map(obvert_api::Json);
            name_of(&Constraint { id: id.into(), text: String::new(), when: None, check, depends: Vec::new() })
                .to_owned()
        };
        assert_eq!(name("format-1", Some(serde_json::json!({ "type": "words", "at_most": 3 }))), "words");
        assert_eq!(
            (name("style-12", None), name("c3", None), name("no-name", None)),
            ("style".into(), "judged".into(), "judged".into())
        );
    }
}
