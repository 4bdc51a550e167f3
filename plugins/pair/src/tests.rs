use obvert_api::Group;
use obvert_api::record::{Constraint, Judged, Pair, Persona, Profile, Response, Reversal, Session, Turn, Verdict};
use obvert_api::serde_json::{Value, json};
use obvert_api::testing::{group, replies};

use crate::{BackTranslate, PairByRefinement, PairByScore, PairUp};

/// Constraints by id, each with those that it depends on.
fn constraints(depends: &[(&str, &[&str])]) -> Vec<Constraint> {
    let constraint = |(id, depends): &(&str, &[&str])| Constraint {
        id: id.to_string(),
        text: format!("Do {id}."),
        when: None,
        check: None,
        depends: depends.iter().map(|id| id.to_string()).collect(),
    };
    depends.iter().map(constraint).collect()
}

fn turn(constraints: Vec<Constraint>) -> Turn {
    let active = constraints.iter().filter(|c| c.id != "off").map(|c| c.id.clone()).collect();
    let profile =
        Profile { id: "p".into(), name: String::new(), description: "A shop.".into(), skills: Vec::new(), constraints };
    let persona = Persona { id: "u".into(), text: String::new(), queries: Vec::new() };
    let session = Session { dialogue: "d".into(), profile, persona, turn: 0, history: Vec::new(), adapter: None };
    Turn { session, query: "Hello?".into(), active }
}

/// A response with a verdict for each active constraint, told by a letter: y, n, or another.
fn judged(turn: &Turn, sample: u32, vector: &str) -> Judged {
    let verdict = |(id, said): (&String, char)| Verdict {
        constraint: id.clone(),
        satisfied: (said != '-').then_some(said == 'y'),
        reason: String::new(),
        by: "judge".into(),
    };
    let verdicts = turn.active.iter().zip(vector.chars()).map(verdict).collect();
    let response =
        Response { turn: turn.clone(), sample, text: vector.into(), model: "policy@base".into(), finished: true };
    Judged { response, verdicts }
}

/// The pairs of responses with these vectors, where all constraints but these have a reversal.
fn pairs(depends: &[(&str, &[&str])], vectors: &[&str], without: &[&str]) -> Vec<Pair> {
    made::<PairUp>(json!({}), depends, vectors, without)
}

fn made<G: Group<In = Judged, With = Reversal, Out = Pair>>(
    settings: Value,
    depends: &[(&str, &[&str])],
    vectors: &[&str],
    without: &[&str],
) -> Vec<Pair> {
    let turn = turn(constraints(depends));
    let responses = (0..).zip(vectors).map(|(sample, vector)| judged(&turn, sample, vector)).collect();
    let reversal = |original: &Constraint| Reversal {
        profile: "p".into(),
        original: original.clone(),
        reversed: Constraint { text: format!("Do not do {}.", original.id), ..original.clone() },
    };
    let known = turn.session.profile.constraints.iter().filter(|c| !without.contains(&c.id.as_str()));
    let made = group::<G>(settings, responses, known.map(reversal).collect(), replies([])).unwrap();
    made.into_values().next().unwrap().records
}

/// Ids that are reversed where this response is chosen, and whether the pair is clean.
fn reversed(pairs: &[Pair], chosen: &str) -> (Vec<String>, bool) {
    let pair = pairs.iter().find(|pair| pair.chosen == chosen).unwrap();
    let ids = pair.constraints.iter().filter(|c| c.reversed).map(|c| c.id.clone()).collect();
    (ids, pair.clean().is_ok())
}

#[test]
fn what_a_response_violates_is_reversed_and_nothing_else() {
    let made = pairs(&[("a", &[]), ("b", &[]), ("off", &[])], &["yn", "ny"], &[]);
    assert_eq!((made.len(), made[0].g, made[0].case), (2, 2, 1));
    assert_eq!(reversed(&made, "yn"), (vec!["b".into()], true));
    assert_eq!(reversed(&made, "ny"), (vec!["a".into()], true));
    let prompt = &made.iter().find(|pair| pair.chosen == "yn").unwrap().prompt[0].content;
    assert_eq!(prompt, "A shop.\nRules:\n- Do a.\n- Do not do b.\n- Do off.");
}

#[test]
fn constraints_that_depend_on_each_other_are_reversed_together() {
    // c depends on b, and b on a: whoever violates one has all three reversed, which is clean where it satisfies none of them.
    let depends: &[(&str, &[&str])] = &[("a", &[]), ("b", &["a"]), ("c", &["b"]), ("d", &[])];
    let made = pairs(depends, &["nnny", "yyny", "yyyn", "n--y"], &[]);
    let all = || vec!["a".to_string(), "b".into(), "c".into()];
    assert_eq!(reversed(&made, "nnny"), (all(), true));
    assert_eq!(reversed(&made, "yyny"), (all(), false));
    assert_eq!(reversed(&made, "yyyn"), (vec!["d".into()], true));
    assert_eq!(reversed(&made, "n--y"), (all(), true));
    let torn = made.iter().find(|pair| pair.chosen == "yyny").unwrap().clean().unwrap_err().0;
    assert!(torn.contains("`a` had to be reversed with what depends on it"), "{torn}");
    // One that is not in force goes with the others.
    let made = pairs(&[("a", &["off"]), ("b", &[]), ("off", &[])], &["ny", "yn"], &[]);
    assert_eq!(reversed(&made, "ny"), (vec!["a".into(), "off".into()], true));
}

#[test]
fn a_direction_without_its_reversals_makes_no_pair() {
    let made = pairs(&[("a", &[]), ("b", &[])], &["yn", "ny"], &["a"]);
    assert_eq!(made.iter().map(|pair| pair.chosen.as_str()).collect::<Vec<_>>(), ["yn"]);
    assert!(pairs(&[("a", &[]), ("b", &["a"])], &["yn", "yy"], &["a"]).iter().all(|pair| pair.chosen != "yn"));
}

/// Chosen, rejected, difference and case of the pairs by score.
fn by_score(settings: Value, vectors: &[&str]) -> Vec<(String, String, u32, u8)> {
    let turn = turn(constraints(&[("a", &[]), ("b", &[]), ("c", &[])]));
    let responses = (0..).zip(vectors).map(|(sample, vector)| judged(&turn, sample, vector)).collect();
    let made = group::<PairByScore>(settings, responses, Vec::new(), replies([])).unwrap();
    let made = made.into_values().next().unwrap().records.into_iter();
    made.map(|pair| (pair.chosen, pair.rejected, pair.g, pair.case)).collect()
}

#[test]
fn by_score_the_better_one_is_chosen_and_equal_ones_are_lost() {
    let of = |settings| by_score(settings, &["ynn", "nyy", "nny", "y-y"]);
    let pair = |chosen: &str, rejected: &str, g, case| (chosen.to_owned(), rejected.to_owned(), g, case);
    let all = [
        pair("nyy", "ynn", 3, 3),
        pair("y-y", "ynn", 1, 6),
        pair("nyy", "nny", 1, 5),
        pair("y-y", "nyy", 1, 6),
        pair("y-y", "nny", 1, 6),
    ];
    assert_eq!(of(json!({})), all);
    let by_points = of(json!({ "difference": "score" }));
    assert_eq!(by_points.iter().map(|pair| pair.2).collect::<Vec<_>>(), [1, 1, 1, 1, 1]);
    assert_eq!(of(json!({ "min_difference": 2 })), all[..1]);
    let best = by_score(json!({ "best": true }), &["ynn", "nyy", "nnn", "yny"]);
    assert_eq!(best, [pair("nyy", "nnn", 2, 5)], "the first of two best ones beside the worst");
    // The instruction is as it stands: what the chosen response violates is in it.
    let turn = turn(constraints(&[("a", &[]), ("b", &[]), ("c", &[])]));
    let two = vec![judged(&turn, 0, "nny"), judged(&turn, 1, "nyy")];
    let made = group::<PairByScore>(json!({}), two, Vec::new(), replies([])).unwrap();
    let pair = &made.into_values().next().unwrap().records[0];
    assert!(
        pair.prompt[0].content.ends_with("- Do a.\n- Do b.\n- Do c.") && pair.clean().is_err() && pair.whole().is_ok()
    );
}

#[test]
fn a_share_of_the_pairs_stays_as_it_is_without_reversal() {
    let depends: &[(&str, &[&str])] = &[("a", &[]), ("b", &[]), ("c", &[])];
    let vectors = ["ynn", "nyy", "nny"];
    let all = made::<PairUp>(json!({ "original": 1.0 }), depends, &vectors, &[]);
    let told: Vec<_> = all.iter().map(|pair| (pair.chosen.as_str(), pair.rejected.as_str(), pair.g)).collect();
    assert_eq!(told, [("nyy", "ynn", 3), ("nyy", "nny", 1)], "equal scores decide nothing");
    assert!(all.iter().all(|pair| pair.constraints.iter().all(|constraint| !constraint.reversed)));
    // About a half of many, and the others both ways.
    let vectors: Vec<String> =
        (0..8).map(|n| (0..3).map(|bit| if n >> bit & 1 == 1 { 'y' } else { 'n' }).collect()).collect();
    let vectors: Vec<&str> = vectors.iter().map(String::as_str).collect();
    let half = made::<PairUp>(json!({ "original": 0.5 }), depends, &vectors, &[]);
    let clean = half.iter().filter(|pair| pair.clean().is_ok()).count();
    assert!((20..56).contains(&half.len()) && clean < half.len(), "{} {clean}", half.len());
}

#[test]
fn a_difference_of_scores_leaves_out_what_scores_equal() {
    let made = made::<PairUp>(json!({ "difference": "score" }), &[("a", &[]), ("b", &[])], &["yn", "ny", "yy"], &[]);
    let told: Vec<_> = made.iter().map(|pair| (pair.chosen.as_str(), pair.rejected.as_str(), pair.g)).collect();
    assert_eq!(told, [("yn", "yy", 1), ("yy", "yn", 1), ("ny", "yy", 1), ("yy", "ny", 1)]);
}

#[test]
fn a_failing_response_meets_the_perfect_one_that_is_most_like_it() {
    let turn = turn(constraints(&[("a", &[]), ("b", &[])]));
    let said = |sample, vector, text: &str| {
        let mut judged = judged(&turn, sample, vector);
        judged.response.text = text.into();
        judged
    };
    let responses = vec![
        said(0, "yy", "Tea is warm today, my friend."),
        said(1, "yn", "Bread is cheap."),
        said(2, "y-", "Bread is very cheap."),
        said(3, "nn", "Tea is cold today, my friend."),
        said(4, "nn", "Of the same vector."),
    ];
    let made = group::<PairByRefinement>(json!({}), responses, Vec::new(), replies([])).unwrap();
    let made = made.into_values().next().unwrap().records;
    let samples: Vec<_> = made.iter().map(|pair| (pair.chosen_sample, pair.rejected_sample)).collect();
    assert_eq!(samples, [(2, 1), (0, 3)]);
    assert!(made.iter().all(|pair| pair.clean().is_ok()));
}

#[test]
fn a_response_is_an_example_of_what_it_satisfies() {
    let depends: &[(&str, &[&str])] = &[("a", &[]), ("b", &[]), ("c", &[])];
    let made = made::<BackTranslate>(json!({}), depends, &["ynn", "n-y"], &["c"]);
    let told: Vec<_> = made.iter().map(|pair| (pair.prompt[0].role.as_str(), pair.chosen.as_str())).collect();
    // Of the first one a reversal is not known.
    assert_eq!(told, [("user", "- Do not do a.\n- Do c."), ("system", "n-y")]);
    assert!(made[1].prompt[0].content.ends_with("- Do not do a.\n- Do b.\n- Do c.") && made[1].rejected.is_empty());
    assert!(made[0].prompt[0].content.ends_with("follow?\n\nn-y") && made[0].id != made[1].id);
}
