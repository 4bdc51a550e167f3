use obvert_api::record::{Constraint, Profile, Reversal};
use obvert_api::serde_json::{Value, json};
use obvert_api::testing::{Made, map, replies};
use obvert_api::{Error, Json};

use crate::Reverse;

fn constraint(id: &str, text: &str, check: Option<Value>, depends: &[&str]) -> Constraint {
    let depends = depends.iter().map(|id| id.to_string()).collect();
    Constraint { id: id.into(), text: text.into(), when: None, check: check.map(Json), depends }
}

fn reverse(constraints: Vec<Constraint>, said: &[&str]) -> Result<Made<Reversal>, Error> {
    let (id, description) = ("p".to_string(), "A shop.".to_string());
    let profile = Profile { id, name: String::new(), description, skills: Vec::new(), constraints };
    map::<Reverse>(json!({ "model": "strong" }), profile, replies(said.iter().copied()))
}

#[test]
fn what_a_program_decides_is_reversed_exactly_and_the_rest_by_a_model() {
    let words = json!({ "type": "words", "at_most": 20 });
    let two =
        || vec![constraint("a", "Be short.", Some(words.clone()), &[]), constraint("b", "语气要友好。", None, &[])];
    let made = reverse(two(), &[r#"{"b": "语气不得友好。"}"#]).unwrap();
    let texts: Vec<&str> = made.records.iter().map(|reversal| reversal.reversed.text.as_str()).collect();
    assert_eq!(texts, ["Write at least 21 words.", "语气不得友好。"]);
    assert!(made.requests[0].messages[0].content.starts_with("请写出下列每条要求的反面"));
    for (reply, wrong) in [
        ("{}", "`b` is missing"),
        (r#"{"b": " "}"#, "`b` is empty"),
        (r#"{"b": "语气要友好。"}"#, "`b` is not reversed"),
        (r#"{"b": "x", "b": "y"}"#, "`b` is there twice"),
        (r#"{"b": "x", "a": "y"}"#, "`a` was not asked for"),
    ] {
        let error = reverse(two(), &[reply, reply]).unwrap_err().0;
        assert!(error.contains(wrong) && error.ends_with(reply), "{error}");
    }
}

#[test]
fn a_profile_whose_ids_make_no_sense_is_set_aside() {
    let of = |second: Constraint| reverse(vec![constraint("a", "Be short.", None, &[]), second], &[]).unwrap_err().0;
    assert_eq!(of(constraint("a", "Be long.", None, &[])), "two constraints of the profile have the id `a`");
    let dangling = of(constraint("b", "Be long.", None, &["c"]));
    assert_eq!(dangling, "constraint `b` depends on `c`, which is not in the profile");
}
