//! Writes profiles out of role descriptions and personas out of single lines, and recognises constraints that a program decides.

mod draft;
mod expand;
mod mend;
mod persona;
mod recognise;
mod review;

use obvert_api::plugin;

use expand::ExpandProfile;
use persona::ExpandPersona;
use recognise::Recognise;

plugin!("obvert_plugin_v1_obvert_profile": ExpandProfile, ExpandPersona, Recognise);

#[cfg(test)]
mod tests;
