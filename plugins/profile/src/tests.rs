use obvert_api::Error;
use obvert_api::record::{Persona, Profile};
use obvert_api::serde_json::{Value, json};
use obvert_api::testing::{Made, map, replies};

use crate::{ExpandPersona, ExpandProfile, Recognise};

const DESCRIPTION: &str = "You are Leo, the baker of a small town, who gets up at three, knows every customer by name and has an opinion on flour.";

fn role() -> Profile {
    let (id, description) = ("p1".to_string(), "a baker".to_string());
    Profile { id, name: String::new(), description, skills: Vec::new(), constraints: Vec::new() }
}

fn draft(constraints: &[(&str, &str, Option<&str>)]) -> String {
    let row = |(group, text, when): &(&str, &str, Option<&str>)| json!({ "group": group, "text": text, "when": when });
    let rows: Vec<Value> = constraints.iter().map(row).collect();
    json!({ "name": "Leo", "description": DESCRIPTION, "skills": ["baking"], "constraints": rows }).to_string()
}

/// A review that finds fault with these: (id, checkable, excludes, depends).
fn review(ids: &[&str], wrong: &[(&str, bool, &[&str], &[&str])]) -> String {
    let row = |id: &&str| {
        let found = wrong.iter().find(|(other, ..)| other == id);
        let (_, checkable, excludes, depends) = found.copied().unwrap_or((id, true, &[], &[]));
        json!({ "id": id, "checkable": checkable, "excludes": excludes, "depends": depends, "reason": "because" })
    };
    json!({ "reviews": ids.iter().map(row).collect::<Vec<_>>() }).to_string()
}

fn mended(rows: &[(&str, &str)]) -> String {
    let row = |(id, text): &(&str, &str)| json!({ "id": id, "text": text, "when": null });
    json!({ "constraints": rows.iter().map(row).collect::<Vec<_>>() }).to_string()
}

fn expand(settings: Value, said: &[&str]) -> Result<Made<Profile>, Error> {
    let mut all = json!({ "model": "strong", "min_constraints": 2, "max_constraints": 4 });
    settings.as_object().unwrap().iter().for_each(|(key, value)| all[key] = value.clone());
    map::<ExpandProfile>(all, role(), replies(said.iter().copied()))
}

const TWO: [(&str, &str, Option<&str>); 2] =
    [("format", "Write at most 50 words.", None), ("style", "Be cheerful.", Some("the user is sad"))];

#[test]
fn a_role_becomes_a_profile_whose_verifiable_constraints_are_recognised() {
    let judged = json!({ "judge": "judge" });
    let said = [draft(&TWO), review(&["format-1", "style-2"], &[("style-2", true, &[], &["format-1"])])];
    let made = expand(judged, &[&said[0], &said[1]]).unwrap();
    let profile = &made.records[0];
    assert_eq!((profile.id.as_str(), profile.name.as_str(), profile.skills.len()), ("p1", "Leo", 1));
    let [format, style] = &profile.constraints[..] else { panic!() };
    assert_eq!(format.check.as_ref().unwrap().0, json!({ "type": "words", "at_most": 50 }));
    assert_eq!(
        (style.when.as_deref(), &style.check, &style.depends[..]),
        (Some("the user is sad"), &None, &["format-1".to_string()][..])
    );
    let models: Vec<&str> = made.requests.iter().map(|request| request.model.as_str()).collect();
    assert_eq!(models, ["strong", "judge"]);
    // One that has constraints is as it was.
    let whole = profile.clone();
    let made = map::<ExpandProfile>(json!({ "model": "strong" }), whole.clone(), replies([])).unwrap();
    assert_eq!((made.records, made.requests.len()), (vec![whole], 0));
}

#[test]
fn only_constraints_that_cannot_stay_are_written_anew() {
    let rows = [TWO[0], TWO[1], ("format", "Write at least 60 words.", None), ("logic", "Be wise.", None)];
    let ids = ["format-1", "style-2", "format-3", "logic-4"];
    let said = [
        draft(&rows),
        review(&ids, &[("logic-4", false, &[], &[])]),
        mended(&[("logic-4", "Give a reason."), ("format-3", "Name a price.")]),
        review(&ids, &[("format-3", true, &["style-2"], &[])]),
        mended(&[("format-3", "Use at least one comma.")]),
        review(&ids, &[]),
    ];
    let made = expand(json!({}), &said.each_ref().map(String::as_str)).unwrap();
    let texts: Vec<&str> = made.records[0].constraints.iter().map(|c| c.text.as_str()).collect();
    assert_eq!(texts, ["Write at most 50 words.", "Be cheerful.", "Use at least one comma.", "Give a reason."]);
    let asked = |index: usize| made.requests[index].messages[0].content.as_str();
    // A program saw the first contradiction, the model the second.
    assert!(
        asked(2).contains("format-3: excludes `format-1`") && asked(2).contains("logic-4: cannot be checked: because")
    );
    assert!(asked(4).contains("format-3: excludes `style-2`") && !asked(4).contains("logic-4: cannot"));
}

#[test]
fn what_cannot_be_put_right_is_left_out_with_what_depends_on_it_or_the_role_is_set_aside() {
    let four = [TWO[0], TWO[1], ("logic", "Be wise.", None), ("logic", "Say why you are wise.", None)];
    let ids = ["format-1", "style-2", "logic-3", "logic-4"];
    let wrong: &[(&str, bool, &[&str], &[&str])] =
        &[("logic-3", false, &[], &[]), ("logic-4", true, &[], &["logic-3"])];
    let said = [draft(&four), review(&ids, wrong), mended(&[("logic-3", "Be very wise.")]), review(&ids, wrong)];
    let said = said.each_ref().map(String::as_str);
    let made = expand(json!({ "rounds": 1 }), &said).unwrap();
    let left: Vec<&str> = made.records[0].constraints.iter().map(|constraint| constraint.id.as_str()).collect();
    assert_eq!(left, ["format-1", "style-2"]);
    let few = expand(json!({ "rounds": 1, "min_constraints": 3 }), &said).unwrap_err().0;
    assert_eq!(few, "of the constraints that were written 2 can stay; there have to be 3");
}

#[test]
fn replies_that_are_not_what_was_asked_for_are_sent_back() {
    let good = draft(&TWO);
    for (reply, wrong) in [
        (draft(&TWO[..1]), "there are 1 constraints, not 2 to 4"),
        (good.replace(DESCRIPTION, "You bake."), "the description has 9 characters, not 100"),
        (good.replace("\"style\"", "\"mood\""), "constraint 2 is of the group `mood`; groups are content"),
        (good.replace("Be cheerful.", " "), "constraint 2 is empty"),
        (good.replace("the user is sad", ""), "constraint 2 has an empty `when`"),
        (good.replace("\"skills\"", "\"talents\""), "unknown field `talents`"),
    ] {
        let error = expand(json!({}), &[&reply, &reply]).unwrap_err().0;
        assert!(error.starts_with("the profile is unusable: ") && error.contains(wrong), "{error}");
    }
    for (reply, wrong) in [
        (review(&["format-1"], &[]), "`style-2` is missing"),
        (review(&["format-1", "style-2", "style-2"], &[]), "`style-2` is there twice"),
        (review(&["format-1", "style-2"], &[("style-2", true, &["style-9"], &[])]), "no constraint `style-9`"),
    ] {
        let error = expand(json!({}), &[&good, &reply, &reply]).unwrap_err().0;
        assert!(error.starts_with("the review of the constraints is unusable: ") && error.contains(wrong), "{error}");
    }
    let faulty = review(&["format-1", "style-2"], &[("style-2", false, &[], &[])]);
    let other = mended(&[("format-1", "Be short.")]);
    let error = expand(json!({}), &[&good, &faulty, &other, &other]).unwrap_err().0;
    assert!(error.contains("`format-1` was not asked for"), "{error}");
}

#[test]
fn a_line_becomes_a_persona() {
    let persona = |queries: &[&str]| Persona {
        id: "u1".into(),
        text: "喜欢喝茶的老师".into(),
        queries: queries.iter().map(|query| query.to_string()).collect(),
    };
    let settings = || json!({ "model": "strong" });
    let made = map::<ExpandPersona>(settings(), persona(&[]), replies([" 一位温和的老师。 "])).unwrap();
    assert_eq!(made.records[0].text, "一位温和的老师。");
    assert!(
        made.requests[0].messages[0].content.contains("喜欢喝茶的老师")
            && made.requests[0].messages[0].content.contains("这里用一句话")
    );
    let asked = map::<ExpandPersona>(settings(), persona(&["你好"]), replies([])).unwrap();
    assert_eq!(asked.requests.len(), 0);
    assert!(map::<ExpandPersona>(settings(), persona(&[]), replies([" "])).is_err());
}

#[test]
fn constraints_are_recognised_without_a_model() {
    let mut profile = role();
    let text = draft(&TWO);
    let draft: Value = obvert_api::serde_json::from_str(&text).unwrap();
    profile.constraints = draft["constraints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| obvert_api::record::Constraint {
            id: row["group"].as_str().unwrap().into(),
            text: row["text"].as_str().unwrap().into(),
            when: None,
            check: None,
            depends: Vec::new(),
        })
        .collect();
    let made = map::<Recognise>(json!({}), profile, replies([])).unwrap();
    let checks: Vec<bool> = made.records[0].constraints.iter().map(|constraint| constraint.check.is_some()).collect();
    assert_eq!(checks, [true, false]);
}
