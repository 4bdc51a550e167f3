//! Recognises constraints that a program can decide by their wording.

use obvert_api::record::Profile;
use obvert_api::schemars::JsonSchema;
use obvert_api::serde::Deserialize;
use obvert_api::{Error, Json, Map, Output, Reply};
use obvert_constraints::Constraint as Verifiable;

/// The stage has no settings: it gives a `check` to constraints that have none and are understood to their last word.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "obvert_api::serde", deny_unknown_fields)]
#[schemars(crate = "obvert_api::schemars")]
pub(crate) struct Recognise {}

impl Map for Recognise {
    const NAME: &'static str = "recognise";
    type In = Profile;
    type Out = Profile;

    fn map(&self, profile: Profile, _: &[Reply], out: &mut Output<Profile>) -> Result<(), Error> {
        out.emit(recognised(profile));
        Ok(())
    }
}

/// The profile, its constraints with a check where they have none and a program can decide them.
pub(crate) fn recognised(mut profile: Profile) -> Profile {
    for constraint in profile.constraints.iter_mut().filter(|constraint| constraint.check.is_none()) {
        constraint.check = Verifiable::recognise(&constraint.text).map(|found| Json(found.to_json()));
    }
    profile
}
