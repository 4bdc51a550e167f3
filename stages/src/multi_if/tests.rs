use obvert_api::record::Turn;
use obvert_api::testing::{group, map, replies};
use serde_json::{Value, json};

use super::*;

fn row() -> Value {
    json!({
        "key": "7:1:en", "language": "English",
        "turn_1_prompt": "{\"role\": \"user\", \"content\": \"Tea?\"}",
        "turn_1_instruction_id_list": "[\"punctuation:no_comma\"]",
        "turn_1_kwargs": "[\"{}\"]",
        "turn_2_prompt": "{\"role\": \"user\", \"content\": \"In quotes.\"}",
        "turn_2_instruction_id_list": "[\"punctuation:no_comma\", \"startend:quotation\"]",
        "turn_2_kwargs": "[\"{}\", \"{}\"]",
        "turn_3_prompt": "", "turn_3_instruction_id_list": "", "turn_3_kwargs": "",
    })
}

fn session() -> Session {
    let made = map::<MultiIfSessions>(json!({}), Json(row()), replies([])).unwrap();
    made.records.into_iter().next().unwrap()
}

fn answer(turn: u32, text: &str) -> Response {
    let session = Session { turn, ..session() };
    let query = session.persona.queries[turn as usize].clone();
    let turn = Turn { session, query, active: Vec::new() };
    Response { turn, sample: 0, text: text.into(), model: "policy@base".into(), finished: true }
}

fn judge(response: Response, rows: Vec<Value>) -> Result<Vec<Judged>, Error> {
    let rows = rows.into_iter().map(Json).collect();
    let made = group::<MultiIfJudged>(json!({}), vec![response], rows, replies([]))?;
    Ok(made.into_values().flat_map(|made| made.records).collect())
}

#[test]
fn a_conversation_asks_its_prompts_without_a_system_prompt() {
    let session = session();
    assert_eq!((session.dialogue.as_str(), session.persona.queries.join(" ").as_str()), ("7:1:en", "Tea? In quotes."));
    let asked = answer(0, "").turn;
    let messages = asked.messages(session.profile.system());
    assert_eq!(messages.iter().map(|message| message.role.as_str()).collect::<Vec<_>>(), ["user"]);
}

#[test]
fn the_instructions_of_the_turn_and_of_those_before_are_decided() {
    let judged = judge(answer(1, "Tea and bread"), vec![row()]).unwrap();
    let said: Vec<_> = judged[0].verdicts.iter().map(|v| (v.constraint.as_str(), v.satisfied)).collect();
    assert_eq!(said, [("1:punctuation:no_comma", Some(true)), ("2:startend:quotation", Some(false))]);
    assert_eq!(judged[0].response.turn.active, ["1:punctuation:no_comma", "2:startend:quotation"]);
    assert_eq!(judge(answer(0, "Tea, bread"), vec![row()]).unwrap()[0].score(), 0);
    let mut other = answer(1, "");
    other.turn.session.turn = 2;
    assert_eq!(judge(other, vec![row()]).unwrap_err().0, "conversation 7:1:en has no turn 3");
    for rows in [vec![], vec![row(), row()]] {
        let said = format!("conversation 7:1:en: {} rows have this key", rows.len());
        assert_eq!(judge(answer(0, ""), rows).unwrap_err().0, said);
    }
}

#[test]
fn an_answer_is_written_as_the_scorer_reads_it() {
    let made = map::<MultiIfResponses>(json!({}), answer(1, "\"Tea\""), replies([])).unwrap();
    let row = json!({ "model": "policy@base", "key": "7:1:en", "turn": 2, "response": "\"Tea\"" });
    assert_eq!(made.records, [Json(row)]);
}
