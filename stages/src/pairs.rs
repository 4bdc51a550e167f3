//! `pairs`: the sink that keeps `pairs/` equal to the current set of pairs, in every format, and notes what changes.
//!
//! The pairs themselves lie on disk. A commit costs what changed since the one before: it is made in `changes.jsonl`, and the
//! files follow behind, each replaced at once: one of each format, or of a large set one for some of the dialogues. A line of the last commit may be taken back while that is being made, if the
//! process is killed; a line of an earlier one never is.

mod changelog;
mod commits;
mod examples;
mod replacing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use obvert_api::Record;
use obvert_api::erased::decode;
use obvert_api::record::{Pair, id_of};
use obvert_engine::registry::Entry;
use obvert_engine::spool::Extent;
use obvert_engine::{Change, Poll, Registry, Settled, View, Waker};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::findings::{Findings, SetOfPairs};
use crate::output::Error;
use crate::output::shards::Bounds;
use crate::pair_set::{Key, PairSet, number};
use changelog::Changelog;
use commits::Name;
use replacing::{Changed, Replacing, Told};

/// What the card says of the pairs beside what a run knows. Every format is written. Up to 65,536 rows are one file
/// (`pairs.jsonl`), more are as many as hold 8,192 or fewer on average (`pairs-00003-of-00064.jsonl`), each with all pairs of its
/// dialogues.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Terms {
    /// The licence of the pairs, by its identifier on the hub, such as `apache-2.0`.
    pub license: Option<String>,
    /// The languages of the dialogues, by their codes, such as `en`.
    pub languages: Vec<String>,
}

pub(crate) fn register(registry: &mut Registry, findings: &Findings) {
    let findings = findings.clone();
    let open = move |settings: &serde_json::Value, context: &obvert_engine::RunContext| {
        let terms = Terms::deserialize(settings).map_err(|e| e.to_string())?;
        let (folder, state) = (context.folder().join("pairs"), context.out.join("state").join(&context.stage));
        let set = SetOfPairs { folder: folder.clone(), terms, ..SetOfPairs::default() };
        findings.lock().pairs.insert(context.stage.clone(), set);
        let told = Told { findings: findings.clone(), stage: context.stage.clone() };
        let pairs = Pairs::open(&folder, &state, told).map_err(|e| e.to_string())?;
        Ok(Box::new(pairs) as Box<dyn View>)
    };
    let mut entry = Entry::view(Pair::NAME, schemars::schema_for!(Terms).to_value(), Arc::new(open));
    entry.check = Some(Arc::new(|stage, _| {
        Terms::deserialize(&stage.settings).map_err(|e| (String::new(), e.to_string()))?.check()
    }));
    registry.add("pairs", entry);
}

impl Terms {
    /// Names the setting that the hub could not read.
    fn check(&self) -> Result<(), (String, String)> {
        let license = self.license.iter().map(|code| ("license", code));
        let mut all = license.chain(self.languages.iter().map(|code| ("languages", code)));
        let is_code = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let wrong = all.find(|(_, code)| code.is_empty() || !code.chars().all(is_code));
        wrong.map_or(Ok(()), |(key, code)| {
            Err((key.into(), format!("`{code}` is not an identifier, such as `apache-2.0`, `en`")))
        })
    }
}

struct Pairs {
    current: PairSet,
    /// The pairs that came since the last commit.
    came: BTreeSet<Key>,
    /// The pairs that went since, and where they are to be named from.
    gone: BTreeMap<Key, Gone>,
    changelog: Changelog,
    replacing: Replacing,
    bounds: Bounds,
    /// Groups of pairs that changed since files were last replaced.
    touched: HashSet<u32>,
    /// Files that the set was split into then; 0 before this process has replaced any.
    files: u32,
    /// The last commit, once this process has made one or found that there was nothing to commit.
    committed: Option<u64>,
    /// The commit whose set was last handed to be written by this process: what an earlier one left is not known.
    replaced: Option<u64>,
}

/// A pair that was committed and is not in the set.
#[derive(Clone, Copy)]
enum Gone {
    /// It still lies at this place.
    Held(Extent),
    /// An earlier process committed it, and this one was not told of it (yet). The list of commits names it.
    Listed(Extent),
}

impl Pairs {
    /// The set of the last commit, in `folder`. `state` with an extension names what is kept to go on from.
    fn open(folder: &Path, state: &Path, told: Told) -> Result<Self, Error> {
        let of = |extension: &str| state.with_added_extension(extension);
        let (changelog, committed) = Changelog::open(&folder.join("changes.jsonl"), &of("commits"))?;
        Ok(Pairs {
            current: PairSet::open(state.parent().unwrap_or(folder))?,
            came: BTreeSet::new(),
            gone: committed.into_iter().map(|(key, at)| (key, Gone::Listed(at))).collect(),
            changelog,
            replacing: Replacing::new(folder.into(), told),
            bounds: Bounds::default(),
            touched: HashSet::new(),
            files: 0,
            committed: None,
            replaced: None,
        })
    }

    /// What comes and goes again, or goes and comes again, is as it was committed.
    fn take_in(&mut self, change: &Change) -> Result<(), String> {
        let pair: Pair = decode(&change.record).map_err(|e| e.0)?;
        let key = Key::new(change.root, &pair.id, &change.record);
        // The pairs of a dialogue stay together where the set is split.
        let group = number(&id_of(&[&pair.dialogue])) as u32;
        let before = self.current.find(&key);
        self.current.change(key, group, &change.record, change.diff).map_err(|e| e.to_string())?;
        self.touched.insert(group);
        match (before, self.current.find(&key)) {
            (None, Some(_)) if self.gone.remove(&key).is_none() => drop(self.came.insert(key)),
            (Some(at), None) if !self.came.remove(&key) => drop(self.gone.insert(key, Gone::Held(at))),
            _ => {}
        }
        Ok(())
    }

    fn is_committed(&self) -> bool {
        self.came.is_empty() && self.gone.is_empty()
    }

    /// Writes down what changed: first what went, so that a new version of a pair follows the old one.
    fn note(&mut self) -> Result<(), Error> {
        for (key, gone) in std::mem::take(&mut self.gone) {
            let name = match gone {
                Gone::Held(at) => Name::of(&self.current.pair(at)?),
                Gone::Listed(at) => self.changelog.name(at)?,
            };
            self.changelog.gone(key, &name)?;
        }
        for key in std::mem::take(&mut self.came) {
            if let Some(at) = self.current.find(&key) {
                self.changelog.came(key, &self.current.pair(at)?)?;
            }
        }
        self.changelog.commit()
    }

    /// Begins to replace the files, if they are of another set than the committed one and that is at hand.
    fn replace(&mut self) -> Result<(), String> {
        if self.replacing.is_idle()? && self.is_committed() && self.replaced != self.committed {
            let changed = self.changed().map_err(|e| e.to_string())?;
            self.replacing.begin(changed);
            self.replaced = self.committed;
        }
        Ok(())
    }

    /// The files that are not what they were when files were last replaced.
    fn changed(&mut self) -> Result<Changed, Error> {
        let of = self.bounds.files(self.current.len());
        let touched: HashSet<u32> = self.touched.drain().map(|group| group % of).collect();
        let split_anew = std::mem::replace(&mut self.files, of) != of;
        let files = self.current.snapshot(of, |file| split_anew || touched.contains(&file))?;
        Ok(Changed { of, files })
    }
}

impl View for Pairs {
    fn accepts(&self, record: &[u8]) -> Result<(), String> {
        decode::<Pair>(record).and_then(|pair| pair.whole()).map_err(|e| e.0)
    }

    fn start(&mut self, waker: Waker) {
        self.replacing.wake(waker);
    }

    fn update(&mut self, changes: Vec<Change>, _: Settled) -> Result<(), String> {
        changes.iter().try_for_each(|change| self.take_in(change))
    }

    fn commit(&mut self) -> Result<(), String> {
        if !self.is_committed() {
            self.note().map_err(|e| e.to_string())?;
        }
        self.committed = Some(self.changelog.number());
        self.current.compact().map_err(|e| e.to_string())
    }

    fn poll(&mut self) -> Result<Poll, String> {
        self.replace().map(|()| Poll::default())
    }

    fn finish(&mut self) -> Result<(), String> {
        self.replacing.wait()?;
        self.replace()?;
        self.replacing.wait()
    }

    fn abandon(&mut self) -> Result<(), String> {
        self.finish()
    }
}
