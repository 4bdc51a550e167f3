//! `session`: joins each profile with its personas; each session waits to be let into the turn loop.

use obvert_api::record::{Persona, Profile, Session, id_of};
use obvert_api::{Error, Group, Output, Reply};
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of `session`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sessions {
    /// Personas that each profile meets. Which ones is drawn by hash, so that a new persona moves few sessions.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 255))]
    personas_per_profile: usize,
    /// Seed of the draw.
    #[serde(default)]
    seed: u64,
}

fn one() -> usize {
    1
}

impl Group for Sessions {
    const NAME: &'static str = "session";
    type In = Profile;
    type With = Persona;
    type Out = Session;
    const WITHIN_ROW: bool = true;

    fn key(&self, profile: &Profile) -> String {
        profile.id.clone()
    }

    fn looks_up(&self, _: &Profile) -> Option<String> {
        Some(String::new())
    }

    fn group(
        &self,
        key: &str,
        profiles: Vec<Profile>,
        mut personas: Vec<Persona>,
        _: &[Reply],
        out: &mut Output<Session>,
    ) -> Result<(), Error> {
        let [profile] = &profiles[..] else {
            return Err(Error(format!("{} profiles have the id `{key}`", profiles.len())));
        };
        let seed = self.seed.to_string();
        personas.sort_by_cached_key(|persona| id_of(&[&profile.id, &persona.id, &seed]));
        for persona in personas.into_iter().take(self.personas_per_profile) {
            out.emit(Session {
                dialogue: format!("{}+{}", profile.id, persona.id),
                profile: profile.clone(),
                persona,
                turn: 0,
                history: Vec::new(),
                adapter: None,
            });
        }
        Ok(())
    }
}
