//! `session-profile`: the profile of a session, for sources whose rows hold both.

use obvert_api::record::{Profile, Session};
use obvert_api::{Error, Map, Output, Reply};
use schemars::JsonSchema;
use serde::Deserialize;

/// `session-profile` has no settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionProfile {}

impl Map for SessionProfile {
    const NAME: &'static str = "session-profile";
    type In = Session;
    type Out = Profile;

    fn map(&self, session: Session, _: &[Reply], out: &mut Output<Profile>) -> Result<(), Error> {
        out.emit(session.profile);
        Ok(())
    }
}
