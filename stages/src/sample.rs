//! Records for tests, with as little in them as can be.

use obvert_api::record::{Judged, Persona, Profile, Response, Session, Turn, Verdict};

/// A sampled answer with a judge's verdicts on the constraints `c0`, `c1`, …
pub(crate) fn judged(sample: u32, verdicts: &[Option<bool>]) -> Judged {
    let (name, description) = (String::new(), String::new());
    let profile = Profile { id: "p".into(), name, description, skills: Vec::new(), constraints: Vec::new() };
    let persona = Persona { id: "u".into(), text: String::new(), queries: Vec::new() };
    let session = Session { dialogue: "d".into(), profile, persona, turn: 0, history: Vec::new(), adapter: None };
    let turn = Turn { session, query: String::new(), active: Vec::new() };
    let verdict = |(index, satisfied): (usize, &Option<bool>)| Verdict {
        constraint: format!("c{index}"),
        satisfied: *satisfied,
        reason: String::new(),
        by: "judge".into(),
    };
    let verdicts = verdicts.iter().enumerate().map(verdict).collect();
    Judged { response: Response { turn, sample, text: String::new(), model: "m".into(), finished: true }, verdicts }
}
