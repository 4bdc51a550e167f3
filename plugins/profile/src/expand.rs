//! Writes a profile for a role: description, skills and constraints, which are looked through and put right one by one.

use std::collections::{BTreeMap, BTreeSet};

use obvert_api::form::{Form, Stop, Talk, answered};
use obvert_api::prompt::Language;
use obvert_api::record::{Constraint, Message, Profile};
use obvert_api::schemars::JsonSchema;
use obvert_api::serde::Deserialize;
use obvert_api::{Error, Json, Map, ModelName, Output, Reply, Request, Sampling, serde_json};

use crate::recognise::recognised;
use crate::review::Wrong;
use crate::{draft, mend, review};

/// Settings of the stage. A profile that has constraints passes as it is: only its constraints that a program can decide are recognised.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "obvert_api::serde", deny_unknown_fields)]
#[schemars(crate = "obvert_api::schemars")]
pub(crate) struct ExpandProfile {
    /// The model that writes.
    pub(crate) model: ModelName,
    /// The model that looks through the constraints; the one that writes, unless it is set.
    judge: Option<ModelName>,
    /// Constraints at least.
    #[serde(default = "six")]
    #[schemars(range(min = 1))]
    pub(crate) min_constraints: usize,
    /// Constraints at most.
    #[serde(default = "twelve")]
    #[schemars(range(min = 1))]
    pub(crate) max_constraints: usize,
    /// Characters of a description at least.
    #[serde(default = "hundred")]
    pub(crate) min_description: usize,
    /// How often constraints that cannot stay are written anew; those that still cannot are left out.
    #[serde(default = "two")]
    rounds: usize,
    /// How freely the model writes.
    #[serde(default = "temperature")]
    temperature: f32,
    /// How often a malformed reply is sent back with its error before the role is set aside.
    #[serde(default = "obvert_api::form::repairs")]
    repairs: usize,
    /// The language of the profile; that of the role, unless it is set.
    language: Option<Language>,
    /// Seed of the draws.
    #[serde(default)]
    seed: u64,
}

fn two() -> usize {
    2
}

fn six() -> usize {
    6
}

fn twelve() -> usize {
    12
}

fn hundred() -> usize {
    100
}

fn temperature() -> f32 {
    0.7
}

impl Map for ExpandProfile {
    const NAME: &'static str = "expand-profile";
    type In = Profile;
    type Out = Profile;

    fn validate(&self) -> Result<(), Error> {
        let (min, max) = (self.min_constraints, self.max_constraints);
        if min <= max { Ok(()) } else { Err(Error(format!("`min_constraints` is {min}, `max_constraints` {max}"))) }
    }

    fn map(&self, role: Profile, replies: &[Reply], out: &mut Output<Profile>) -> Result<(), Error> {
        let profile = match role.constraints.is_empty() {
            true => answered(self.expanded(role, &mut out.talk(replies)))?,
            false => Some(role),
        };
        if let Some(profile) = profile {
            out.emit(recognised(profile));
        }
        Ok(())
    }
}

impl ExpandProfile {
    fn expanded(&self, role: Profile, talk: &mut Talk) -> Result<Profile, Stop> {
        let language = self.language.unwrap_or_else(|| Language::of(&role.description));
        let read = |text: &str| draft::read(self, text);
        let draft = talk.ask(self.form("the profile is", draft::prompt(self, &role, language), &read))?;
        let mut profile = draft.of(role);
        for _ in 0..self.rounds {
            let wrong = self.wrong(&mut profile, language, talk)?;
            if wrong.is_empty() {
                return Ok(profile);
            }
            let mended = self.mended(&profile, &wrong, language, talk)?;
            profile.constraints.iter_mut().for_each(|constraint| mend::put_right(constraint, &mended));
        }
        let wrong = self.wrong(&mut profile, language, talk)?;
        Ok(self.without(profile, &wrong)?)
    }

    /// The profile without what cannot stay and what means nothing without that, if enough is left.
    fn without(&self, mut profile: Profile, wrong: &[Wrong]) -> Result<Profile, Error> {
        let mut gone: BTreeSet<String> = wrong.iter().map(|wrong| wrong.id.clone()).collect();
        while let Some(next) = profile.constraints.iter().find(|constraint| {
            !gone.contains(&constraint.id) && constraint.depends.iter().any(|other| gone.contains(other))
        }) {
            gone.insert(next.id.clone());
        }
        profile.constraints.retain(|constraint| !gone.contains(&constraint.id));
        let (left, least) = (profile.constraints.len(), self.min_constraints);
        match left < least {
            true => {
                Err(Error(format!("of the constraints that were written {left} can stay; there have to be {least}")))
            }
            false => Ok(profile),
        }
    }

    /// The constraints that cannot stay; the others learn what they depend on.
    fn wrong(&self, profile: &mut Profile, language: Language, talk: &mut Talk) -> Result<Vec<Wrong>, Stop> {
        let constraints = &profile.constraints;
        let read = |text: &str| review::read(constraints, text);
        let mut form = self.form("the review of the constraints is", review::prompt(constraints, language), &read);
        if let Some(judge) = &self.judge {
            form.request.model.clone_from(&judge.0);
        }
        form.request.sampling.temperature = 0.0;
        let reviews = talk.ask(form)?;
        Ok(review::take(profile, reviews))
    }

    fn mended(
        &self,
        profile: &Profile,
        wrong: &[Wrong],
        language: Language,
        talk: &mut Talk,
    ) -> Result<BTreeMap<String, mend::Row>, Stop> {
        let read = |text: &str| mend::read(wrong, text);
        talk.ask(self.form("the constraints written anew are", mend::prompt(profile, wrong, language), &read))
    }

    fn form<'a, T>(
        &self,
        what: &'a str,
        (text, schema): (String, serde_json::Value),
        read: &'a dyn Fn(&str) -> Result<T, String>,
    ) -> Form<'a, T> {
        let mut request = Request::new(&self.model.0, vec![Message::new("user", text)]);
        request.schema = Some(Json(schema));
        request.sampling =
            Sampling { temperature: self.temperature, seed: self.seed, max_tokens: 4096, ..Sampling::default() };
        Form { what, request, read, repairs: self.repairs }
    }
}

/// The lines by which a prompt shows constraints.
pub(crate) fn listed(constraints: &[Constraint]) -> String {
    constraints.iter().map(|constraint| format!("{}: {}\n", constraint.id, constraint.line())).collect()
}
