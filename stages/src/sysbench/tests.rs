use obvert_api::record::{Judged, Response, Turn, Verdict};
use obvert_api::testing::{group, map, replies};
use obvert_api::{Error, Json};
use serde_json::{Value, json};

use super::*;

fn row() -> Value {
    json!({
        "system_id": 7, "system_prompt": "You are Leo.", "scenario": "travel", "dependent": true,
        "turns": [
            { "turn": 1, "user": "Tea?", "gold": "Yes.", "alignment": "align",
              "criteria": [{ "id": 1, "text": "says yes", "type": "action" }, { "id": 2, "text": "is short", "type": "style" }] },
            { "turn": 2, "user": "Bread?", "gold": "No.", "alignment": "align",
              "criteria": [{ "id": 1, "text": "says no", "type": "action" }] },
            { "turn": 3, "user": "Water?", "gold": null, "alignment": "misalign", "criteria": [] },
        ],
    })
}

fn sessions(settings: Value) -> Vec<Session> {
    map::<SysbenchSessions>(settings, Json(row()), replies([])).unwrap().records
}

fn answer() -> Response {
    let session = sessions(json!({ "history": "given" })).remove(1);
    let turn = Turn { session, query: "Bread?".into(), active: Vec::new() };
    Response { turn, sample: 0, text: "Perhaps.".into(), model: "policy@base".into(), finished: true }
}

/// An answer to the session's first turn, as the judge replies.
fn judged(said: &[&str], rows: Vec<Value>) -> Result<Vec<Judged>, Error> {
    let mut answer = answer();
    (answer.turn.session.turn, answer.turn.session.history) = (0, Vec::new());
    let rows = rows.into_iter().map(Json).collect();
    let settings = json!({ "model": "judge", "repairs": 1 });
    let made = group::<SysbenchJudge>(settings, vec![answer], rows, replies(said.iter().copied()))?;
    Ok(made.into_values().flat_map(|made| made.records).collect())
}

#[test]
fn a_session_is_its_system_prompt_and_what_the_user_says() {
    let own = sessions(json!({}));
    assert_eq!((own.len(), own[0].turn, own[0].history.len()), (1, 0, 0));
    assert_eq!(own[0].profile.system(), "You are Leo.");
    assert_eq!(own[0].persona.queries, ["Tea?", "Bread?", "Water?"]);
    let given = sessions(json!({ "history": "given" }));
    let said: Vec<&str> = given[1].history.iter().map(|message| message.content.as_str()).collect();
    assert_eq!((given.len(), given[1].turn, said), (3, 1, vec!["Tea?", "Yes."]));
    assert_eq!(given[1].persona.queries.len(), 2, "a loop has nothing to add");
}

/// Before anything is paid for.
#[test]
fn a_session_that_cannot_be_scored_is_refused() {
    let refused = |change: fn(&mut Value)| {
        let mut row = row();
        change(&mut row);
        map::<SysbenchSessions>(json!({ "history": "given" }), Json(row), replies([])).unwrap_err().0
    };
    assert_eq!(refused(|row| row["turns"][1]["turn"] = json!(3)), "session 7: turn 3 stands at place 2");
    assert_eq!(refused(|row| row["turns"] = json!([])), "session 7: it has no turns");
    assert!(refused(|row| row["dependent"] = json!(null)).contains("boolean"));
    assert!(refused(|row| row["turns"][0]["alignment"] = json!("aligned")).contains("unknown variant `aligned`"));
    let lacking = "session 7: turn 1 has no `gold`, which the history of turn 2 needs";
    assert_eq!(refused(|row| row["turns"][0]["gold"] = json!(null)), lacking);
}

/// The history of published answers begins behind the last one that the row lacks.
#[test]
fn an_answer_that_a_row_lacks_is_no_empty_one() {
    let mut sessions = row();
    sessions["turns"][0]["gold"] = json!(null);
    let response = json!({ "model": "m", "system_id": 7, "turn": 3, "verdict": [], "response": "Water." });
    let made = group::<SysbenchJudged>(json!({}), vec![Json(response)], vec![Json(sessions)], replies([])).unwrap();
    let judged = made.into_values().next().unwrap().records.remove(0);
    let said: Vec<&str> = judged.response.turn.session.history.iter().map(|m| m.content.as_str()).collect();
    assert_eq!(said, ["Bread?", "No."]);
}

#[test]
fn the_judge_sees_everything_and_its_words_are_matched_by_number() {
    let reply = [r#"{"result": {"1": "no"}}"#];
    let made = group::<SysbenchJudge>(json!({ "model": "judge" }), vec![answer()], vec![Json(row())], replies(reply));
    let asked = &made.unwrap().into_values().next().unwrap().requests[0];
    let text = &asked.messages[0].content;
    for part in ["You are Leo.", "user: Tea?\nassistant: Yes.", "Bread?", "Perhaps.", "1. says no | action"] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    assert_eq!(asked.sampling.temperature, 0.0);
    let verdicts = |said: &str| {
        let judged = judged(&[said], vec![row()]).unwrap().remove(0);
        assert_eq!(judged.response.turn.active, ["1.1", "1.2"]);
        judged.adherence()
    };
    assert_eq!(verdicts(r#"{"reason": "", "result": {"2": "no", "1": "Yes"}}"#), [Some(true), Some(false)]);
    assert_eq!(verdicts(r#"{"reason": "", "result": {"1": "yes", "2": "not applicable"}}"#), [Some(true), None]);
    assert_eq!(verdicts(r#"{"result": {"1": true, "2": "否。"}}"#), [Some(true), Some(false)]);
}

#[test]
fn what_cannot_be_judged_is_said() {
    let half = r#"{"reason": "", "result": {"1": "yes"}}"#;
    let unusable = judged(&[half, half], vec![row()]).unwrap_err().0;
    assert!(unusable.starts_with("the judge's reply is unusable: `2` is missing"), "{unusable}");
    let answers = vec![answer(), Response { sample: 1, ..answer() }];
    let twice =
        group::<SysbenchJudge>(json!({ "model": "judge" }), answers, vec![Json(row())], replies([])).unwrap_err().0;
    assert!(twice.contains("a benchmark takes one answer to a turn"), "{twice}");
    let said = judged(&[], vec![]).unwrap_err().0;
    assert_eq!(said, "sysbench-7: 0 sessions have its system_id");
}

#[test]
fn verdicts_are_written_as_the_scorer_reads_them() {
    let verdict = |satisfied| Verdict { constraint: "2.1".into(), satisfied, reason: "so".into(), by: "judge".into() };
    let verdicts = vec![verdict(Some(true)), verdict(None), verdict(Some(false))];
    let made = map::<SysbenchVerdicts>(json!({}), Judged { response: answer(), verdicts }, replies([])).unwrap();
    let row = json!({
        "model": "policy@base", "system_id": 7, "turn": 2, "verdict": [1, null, 0],
        "response": "Perhaps.", "reasons": ["so", "so", "so"],
    });
    assert_eq!(made.records, [Json(row)]);
}
