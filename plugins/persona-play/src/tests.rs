use obvert_api::record::{Constraint, Message, Persona, Profile, Session, Turn};
use obvert_api::serde_json::{Value, json};
use obvert_api::testing::{Made, map, replies};
use obvert_api::{Error, Request};

use crate::PersonaPlay;

fn session(description: &str, when: Option<&str>, history: &[&str]) -> Session {
    let constraint = |(id, when): (&str, Option<&str>)| Constraint {
        id: id.into(),
        text: "Be short.".into(),
        when: when.map(str::to_owned),
        check: None,
        depends: Vec::new(),
    };
    let said = |(index, text): (usize, &&str)| Message::new(["user", "assistant"][index % 2], *text);
    Session {
        dialogue: "p1+u1".into(),
        profile: Profile {
            id: "p1".into(),
            name: String::new(),
            description: description.into(),
            skills: Vec::new(),
            constraints: [("always", None), ("some", when)].map(constraint).into(),
        },
        persona: Persona { id: "u1".into(), text: "likes tea".into(), queries: Vec::new() },
        turn: history.len() as u32 / 2,
        history: history.iter().enumerate().map(said).collect(),
        adapter: None,
    }
}

fn play(settings: Value, session: Session, said: &[&str]) -> Result<Made<Turn>, Error> {
    map::<PersonaPlay>(settings, session, replies(said.iter().copied()))
}

fn asked(request: &Request) -> String {
    request.messages.iter().map(|message| message.content.clone() + "\n").collect()
}

#[test]
fn a_query_that_resembles_an_earlier_one_is_asked_for_again_once() {
    let history = ["Which tea is best?", "Any."];
    let settings = json!({ "model": "user" });
    let made = play(settings.clone(), session("A shop.", None, &history), &["And coffee?"]).unwrap();
    assert_eq!((made.records[0].query.as_str(), made.requests.len()), ("And coffee?", 1));
    let again = play(settings.clone(), session("A shop.", None, &history), &["Which tea is the best?", "And coffee?"]);
    let again = again.unwrap();
    assert_eq!(again.records[0].query, "And coffee?");
    assert!(asked(&again.requests[1]).contains("too close to what was asked before (\"Which tea is best?\")"));
    // Whoever goes on repeating is let.
    let stubborn = play(settings, session("A shop.", None, &history), &["Which tea is best", "which tea is best"]);
    assert_eq!(stubborn.unwrap().records[0].query, "which tea is best");
}

#[test]
fn traits_are_drawn_once_for_a_dialogue() {
    let first = |history: &[&str], traits: usize, seed: u32| {
        let settings = json!({ "model": "user", "traits": traits, "seed": seed, "chat": 0.0 });
        let made = play(settings, session("A shop.", None, history), &["And coffee?"]).unwrap();
        made.requests[0].messages[0].content.clone()
    };
    let prompt = first(&[], 10, 0);
    let line = prompt.lines().find(|line| line.starts_with("In this talk the user is ")).unwrap();
    assert_eq!(line.split(", ").count(), 10);
    assert_eq!(prompt, first(&["Which tea?", "Any."], 10, 0));
    assert_ne!(prompt, first(&[], 10, 1));
    assert!(!first(&[], 0, 0).contains("In this talk"));
}

#[test]
fn some_turns_are_small_talk_and_a_chinese_profile_is_spoken_to_in_chinese() {
    let chats = |turn: u32, share: f64| {
        let session = Session { turn, ..session("A shop.", None, &[]) };
        let made = play(json!({ "model": "user", "chat": share }), session, &["Hi."]).unwrap();
        asked(&made.requests[0]).contains("small talk")
    };
    let count = (0..400).filter(|turn| chats(*turn, 0.1)).count();
    assert!((20..60).contains(&count), "{count} of 400");
    assert!(!(0..50).any(|turn| chats(turn, 0.0)));
    let made = play(json!({ "model": "user" }), session("你是一家茶叶店的店员，回答要简短。", None, &[]), &["你好"]);
    assert!(asked(&made.unwrap().requests[0]).contains("请扮演下面这位用户"));
}

#[test]
fn constraints_with_a_condition_are_active_where_a_judge_says_so() {
    let settings = json!({ "model": "user", "judge": "judge" });
    let made = |said: &[&str]| play(settings.clone(), session("A shop.", Some("tea is named"), &[]), said);
    assert_eq!(made(&["Tea?", "[\"some\"]"]).unwrap().records[0].active, ["always", "some"]);
    assert_eq!(made(&["Tea?", "[]"]).unwrap().records[0].active, ["always"]);
    for (reply, wrong) in [
        ("[\"other\"]", "`other` is no constraint of the profile"),
        ("[\"always\"]", "`always` has no condition"),
        ("[\"some\", \"some\"]", "`some` is there twice"),
        ("some", "expected value"),
    ] {
        let error = made(&["Tea?", reply, reply]).unwrap_err().0;
        assert!(error.contains(wrong) && error.ends_with(reply), "{error}");
    }
}
