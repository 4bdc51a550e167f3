//! Figures that are counted by hand.

use serde_json::json;

use super::*;

fn conversation(key: &str, language: &str, turns: &[&[&str]]) -> Conversation {
    let instruction = |id: &&str| Instruction { id: (*id).to_owned(), kwargs: json!({}) };
    let turn = |ids: &&[&str]| Turn { prompt: "?".into(), instructions: ids.iter().map(instruction).collect() };
    Conversation { key: key.into(), language: language.into(), turns: turns.iter().map(turn).collect() }
}

const COMMA: &str = "punctuation:no_comma";
const QUOTES: &str = "startend:quotation";

fn conversations() -> Vec<Conversation> {
    vec![
        conversation("1:1:en", "English", &[&[COMMA], &[COMMA, QUOTES], &[COMMA, QUOTES, "detectable_format:title"]]),
        conversation("2:1:en", "English", &[&[COMMA], &[COMMA, QUOTES]]),
        conversation("3:1:de", "German", &[&[QUOTES], &[QUOTES, COMMA]]),
    ]
}

fn response(key: &str, turn: usize, text: &str) -> Response {
    Response { model: "m".into(), key: key.into(), turn, response: Some(text.into()) }
}

fn said() -> Vec<Response> {
    vec![
        response("1:1:en", 1, "Tea"),
        // Loosely its first line does not count.
        response("1:1:en", 2, "Here:\n\"Tea\""),
        response("1:1:en", 3, "\"<<Tea>>\""),
        // Blank: strictly it is checked, loosely it is not.
        response("2:1:en", 1, " "),
        response("2:1:en", 2, "\"Tea, bread\""),
    ]
}

fn near(estimate: Estimate, value: f64) {
    assert!((estimate.value - value).abs() < 1e-12, "{} is not {value}", estimate.value);
    assert!(estimate.low <= estimate.value && estimate.value <= estimate.high, "{estimate:?}");
}

#[test]
fn a_step_is_the_mean_of_four_accuracies_and_the_whole_that_of_steps() {
    let verdicts = verdicts(&conversations(), &said()).unwrap();
    let scores = &scores(&verdicts)["m"];
    assert_eq!((scores.all.conversations, scores.unanswered, scores.all.steps.len()), (2, 0, 3));
    let [first, second, third] = &scores.all.steps[..] else { panic!("{scores:?}") };
    let counted = |step: &Step| (step.accuracies.prompts, step.accuracies.instructions);
    assert_eq!([first, second, third].map(counted), [(2, 2), (2, 4), (1, 3)]);
    // Strictly both, loosely one of two.
    near(first.score, (1.0 + 1.0 + 0.5 + 0.5) / 4.0);
    near(second.accuracies.prompt_strict, 0.0);
    near(second.accuracies.instruction_strict, 2.0 / 4.0);
    near(second.accuracies.prompt_loose, 1.0 / 2.0);
    near(second.accuracies.instruction_loose, 3.0 / 4.0);
    near(second.score, (0.0 + 0.5 + 0.5 + 0.75) / 4.0);
    near(third.score, 1.0);
    near(scores.all.overall, (0.75 + 0.4375 + 1.0) / 3.0);
}

#[test]
fn languages_are_pooled_over_answers_and_given_apart() {
    let mut said = said();
    said.extend([response("3:1:de", 1, "„Tee“"), response("3:1:de", 2, "“Tee“")]);
    said[5].response = None;
    said[6].response = Some("“Tee”".into());
    let scores = &scores(&verdicts(&conversations(), &said).unwrap())["m"];
    let german = &scores.languages["German"];
    assert_eq!((german.conversations, german.steps.len(), scores.unanswered), (1, 2, 1));
    near(german.steps[0].score, 0.0);
    near(german.steps[1].score, 1.0);
    near(german.overall, 0.5);
    near(scores.languages["English"].overall, (0.75 + 0.4375 + 1.0) / 3.0);
    // Of three answers: two, two, one, one.
    near(scores.all.steps[0].score, (2.0 / 3.0 + 2.0 / 3.0 + 1.0 / 3.0 + 1.0 / 3.0) / 4.0);
}

#[test]
fn a_turn_without_an_answer_follows_nothing_and_models_are_apart() {
    let mut said = vec![response("2:1:en", 1, "Tea"), response("1:1:en", 1, "Tea")];
    said[1].model = "other".into();
    let verdicts = verdicts(&conversations(), &said).unwrap();
    let turns: Vec<_> = verdicts.iter().map(|row| (row.model.as_str(), row.turn, row.answered)).collect();
    let other = (1..=3).map(|turn| ("other", turn, turn == 1));
    assert_eq!(turns, [("m", 1, true), ("m", 2, false)].into_iter().chain(other).collect::<Vec<_>>());
    let scores = scores(&verdicts);
    near(scores["m"].all.overall, 0.5);
    near(scores["other"].all.overall, 1.0 / 3.0);
    assert_eq!((scores["m"].unanswered, scores["other"].unanswered), (1, 2));
}

#[test]
fn rows_that_do_not_fit_are_named() {
    let of = |said: &[Response]| verdicts(&conversations(), said).unwrap_err().to_string();
    let tea = |key, turn| response(key, turn, "Tea");
    assert_eq!(
        of(&[tea("9:1:en", 2)]),
        "the response of m to conversation 9:1:en, turn 2: there is no such conversation"
    );
    assert_eq!(of(&[tea("2:1:en", 3)]), "the response of m to conversation 2:1:en, turn 3: there is no such turn");
    assert_eq!(
        of(&[tea("2:1:en", 1), tea("2:1:en", 1)]),
        "the response of m to conversation 2:1:en, turn 1: the turn has been answered already"
    );
    let twice = [conversations(), conversations()].concat();
    assert_eq!(verdicts(&twice, &[]).unwrap_err().to_string(), "conversation 1:1:en: it is there twice");
    let odd = [conversation("4:1:en", "English", &[&["punctuation:no_comas"]])];
    let error = verdicts(&odd, &[tea("4:1:en", 1)]).unwrap_err();
    assert_eq!(error.row, "conversation 4:1:en, turn 1");
}
