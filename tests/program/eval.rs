//! `eval`: benchmarks' scores of files.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::Value;

use crate::common::{assert_accounted, done, folder, obvert, repository, rows, shared};

const PROMPTS: &str = r#"{"key": 1, "prompt": "?", "instruction_id_list": ["punctuation:no_comma", "startend:quotation"], "kwargs": [{}, {}]}
{"key": 2, "prompt": "?", "instruction_id_list": ["length_constraints:number_words"], "kwargs": [{"relation": "at least", "num_words": 3}]}
"#;

#[test]
fn ifevals_four_accuracies_and_its_verdicts() {
    let folder = folder(&[("prompts.jsonl", PROMPTS)]);
    let packed = fs::File::create(folder.path().join("responses.jsonl.gz")).unwrap();
    let mut packed = flate2::write::GzEncoder::new(packed, flate2::Compression::fast());
    packed.write_all(b"{\"key\": 2, \"response\": \"Two words.\"}\n{\"key\": 1, \"response\": \"Here:\\n\\\"Tea and bread\\\"\"}\n").unwrap();
    packed.finish().unwrap();
    let files = ["--prompts", "prompts.jsonl", "--responses", "responses.jsonl.gz", "--verdicts", "out.jsonl"];
    let ran = done(folder.path(), &[&["eval", "ifeval"][..], &files].concat());
    let scores: Value = serde_json::from_str(&ran.out).unwrap();
    let value = |name: &str| scores[name]["value"].as_f64().unwrap();
    assert_eq!([value("prompt_strict"), value("prompt_loose")], [0.0, 0.5]);
    assert_eq!([value("instruction_strict"), value("instruction_loose")], [1.0 / 3.0, 2.0 / 3.0]);
    let verdicts = rows(&folder.path().join("out.jsonl"));
    assert_eq!(verdicts[1].to_string(), r#"{"key":1,"strict":[true,false],"loose":[true,true]}"#);
}

#[test]
fn rows_that_do_not_fit_are_named_and_nothing_is_printed() {
    let folder = folder(&[
        ("prompts.jsonl", PROMPTS),
        ("other.jsonl", "{\"key\": 9, \"response\": \"\"}\n"),
        ("bad.jsonl", "{\"key\": 1}\n{\n"),
    ]);
    let failed = |responses: &str, said: &str| {
        let ran = obvert(folder.path(), &["eval", "ifeval", "--prompts", "prompts.jsonl", "--responses", responses]);
        assert!(ran.code == 1 && ran.out.is_empty() && ran.err.contains(said), "{said} is not in {}", ran.err);
    };
    failed("other.jsonl", "the response to prompt 9: there is no such prompt");
    failed("bad.jsonl", "bad.jsonl:2: not JSON");
    failed("nothing.jsonl", "nothing.jsonl: not a");
}

#[test]
fn sysbenchs_figures_by_model() {
    let Some(sessions) = shared("data/sysbench/sessions.jsonl.gz") else { return };
    let verdicts = shared("data/sysbench/verdicts_own_history.jsonl.gz").unwrap();
    let folder = folder(&[]);
    let files = ["--sessions", sessions.to_str().unwrap(), "--verdicts", verdicts.to_str().unwrap()];
    let ran = done(folder.path(), &[&["eval", "sysbench"][..], &files].concat());
    let scores: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(scores.as_object().unwrap().len(), 14);
    let model = &scores["gpt4o"];
    assert!(model["sessions"] == 250 && model["csr"]["value"].as_f64().unwrap() > 0.8, "{model}");
    assert!(model["no_no"]["isr"]["value"].as_f64() >= model["all_yes"]["isr"]["value"].as_f64());
}

/// A row of Multi-IF's table: two turns, a comma in neither, the second in quotation marks.
const CONVERSATIONS: &str = r#"turns,turn_1_prompt,turn_1_instruction_id_list,turn_1_kwargs,turn_2_prompt,turn_2_instruction_id_list,turn_2_kwargs,turn_3_prompt,turn_3_instruction_id_list,turn_3_kwargs,key,language
,"{""role"": ""user"", ""content"": ""Tea?""}","[""punctuation:no_comma""]","[""{}""]","{""role"": ""user"", ""content"": ""In quotes.""}","[""punctuation:no_comma"", ""startend:quotation""]","[""{}"", ""{}""]",,,,7:1:en,English
,"{""role"": ""user"", ""content"": ""Bread?""}","[""punctuation:no_comma""]","[""{}""]",,,,,,,8:1:en,English
"#;

#[test]
fn multi_ifs_steps_by_model_and_its_verdicts() {
    let answers = [("a", 1, "Tea."), ("a", 2, "\"Tea, bread.\""), ("b", 1, "Tea.")];
    let line = |(model, turn, text): (&str, u32, &str)| {
        serde_json::json!({ "model": model, "key": "7:1:en", "turn": turn, "response": text }).to_string() + "\n"
    };
    let responses: String = answers.into_iter().map(line).collect();
    let folder = folder(&[("conversations.csv", CONVERSATIONS), ("responses.jsonl", &responses)]);
    let files = ["--prompts", "conversations.csv", "--responses", "responses.jsonl", "--verdicts", "out.jsonl"];
    let ran = done(folder.path(), &[&["eval", "multi-if"][..], &files].concat());
    let scores: Value = serde_json::from_str(&ran.out).unwrap();
    let steps = |model: &str| {
        let steps = scores[model]["languages"]["English"]["steps"].as_array().unwrap();
        steps.iter().map(|step| step["score"]["value"].as_f64().unwrap()).collect::<Vec<_>>()
    };
    // In the second turn no prompt, and one instruction of two.
    assert_eq!((steps("a"), steps("b")), (vec![1.0, 0.25], vec![1.0, 0.0]));
    assert_eq!((&scores["a"]["overall"]["value"], &scores["b"]["unanswered"]), (&0.625.into(), &1.into()));
    assert!(ran.err.contains("a has answered nothing of 1 of 2 conversations"), "{}", ran.err);
    assert!(ran.err.contains("b has not answered 1 turns"), "{}", ran.err);
    let verdicts = rows(&folder.path().join("out.jsonl"));
    let second = r#"{"model":"a","key":"7:1:en","language":"English","turn":2,"answered":true,"instructions":["punctuation:no_comma","startend:quotation"],"strict":[false,true],"loose":[false,true]}"#;
    assert_eq!((verdicts.len(), verdicts[1].to_string().as_str()), (4, second));
    assert_eq!(scores["a"]["by_type"]["punctuation:no_comma"]["strict"], 0.5);
}

/// The benchmark's own file is read as it is; all answers being the same, figures are those of what any text satisfies.
#[test]
fn all_of_multi_ifs_english_conversations_are_scored() {
    let Some(prompts) = shared("data/multi_if/english.csv") else { return };
    let folder = folder(&[]);
    let table = obvert_stages::read_rows(&prompts).unwrap();
    let asked = |row: &Value| if row["turn_3_prompt"] == "" { 2 } else { 3 };
    let turns = table.iter().flat_map(|row| (1..=asked(row)).map(move |turn| (&row["key"], turn)));
    let answers: Vec<String> = turns
        .map(|(key, turn)| serde_json::json!({ "key": key, "turn": turn, "response": "tea" }).to_string())
        .collect();
    fs::write(folder.path().join("responses.jsonl"), answers.join("\n")).unwrap();
    let files = ["--prompts", prompts.to_str().unwrap(), "--responses", "responses.jsonl"];
    let ran = done(folder.path(), &[&["eval", "multi-if"][..], &files].concat());
    assert!(ran.err.is_empty(), "{}", ran.err);
    let scores: Value = serde_json::from_str(&ran.out).unwrap();
    let steps = scores["model"]["steps"].as_array().unwrap();
    let count = |name: &str| steps.iter().map(|step| step[name].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!((count("prompts").iter().sum::<u64>(), count("prompts")[0]), (answers.len() as u64, 600));
    assert!(count("instructions").is_sorted(), "{scores}");
    let score = |step: &Value| step["score"]["value"].as_f64().unwrap();
    assert!(
        steps.iter().all(|step| (0.02..0.6).contains(&score(step))) && score(&steps[0]) > score(&steps[2]),
        "{scores}"
    );
}

/// Every turn is answered by the base and by the adapter, and what is written is what the verb reads.
#[test]
fn multi_if_is_answered_before_and_after_an_adapter() {
    let folder = folder(&[("conversations.csv", CONVERSATIONS)]);
    let (pipeline, model) = (repository("pipelines/multi-if.toml"), repository("pipelines/quickstart/model"));
    let model = format!("model.policy.path={}", model.display());
    let set = [
        "conversations.path=conversations.csv",
        "prompts.limit=100",
        "respond.max_tokens=20",
        "exam-respond.max_tokens=20",
        "train.updates=1",
    ];
    let set = set.into_iter().chain([model.as_str()]).flat_map(|value| ["--set", value]);
    let run: Vec<&str> = ["run", pipeline.to_str().unwrap(), "--out", "out"].into_iter().chain(set).collect();
    assert_accounted(&done(folder.path(), &run));
    let answers = rows(&folder.path().join("out/exam-responses.jsonl"));
    let asked = |row: &Value| (row["key"].as_str().unwrap().to_owned(), row["turn"].as_u64().unwrap());
    let of = |base: bool| {
        let rows = answers.iter().filter(|row| (row["model"] == "policy@base") == base);
        rows.map(asked).collect::<std::collections::BTreeSet<_>>()
    };
    let all = [("7:1:en", 1), ("7:1:en", 2), ("8:1:en", 1)].map(|(key, turn)| (key.to_owned(), turn));
    assert_eq!((of(true), of(false), answers.len()), (all.clone().into(), all.into(), 6));
    let files = ["--prompts", "conversations.csv", "--responses", "out/exam-responses.jsonl"];
    let ran = done(folder.path(), &[&["eval", "multi-if"][..], &files].concat());
    let scores: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(scores["policy@base"]["unanswered"], 0);
    assert!(scores.as_object().unwrap().len() == 2 && ran.err.is_empty(), "{} {}", ran.out, ran.err);
    assert_eq!(of_run(folder.path(), "multi-if.json"), scores, "the run's own scores");
    let page = fs::read_to_string(folder.path().join("out/report.html")).unwrap();
    for text in ["Mean of the four accuracies, 2 conversations", "Accuracies of step 2", "Instructions by type"] {
        assert!(page.contains(text), "no {text:?}");
    }
}

/// What the run's sink of benchmark scores has written.
fn of_run(folder: &Path, benchmark: &str) -> Value {
    let text = fs::read(folder.join("out").join(benchmark)).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// Two sessions of SysBench of two turns.
const SESSIONS: &str = r#"
{"system_id": 1, "system_prompt": "只说中文", "scenario": "旅游", "dependent": true, "turns": [{"turn": 1, "user": "你好", "gold": "好", "alignment": "align", "criteria": [{"id": 1, "text": "不超过十个字", "type": "format"}]}, {"turn": 2, "user": "再见", "gold": null, "alignment": "misalign", "criteria": [{"id": 1, "text": "道别", "type": "action"}]}]}
{"system_id": 2, "system_prompt": "只说中文", "scenario": "旅游", "dependent": false, "turns": [{"turn": 1, "user": "一", "gold": "好", "alignment": "align", "criteria": [{"id": 1, "text": "两个字", "type": "format"}, {"id": 2, "text": "汉字", "type": "format"}]}, {"turn": 2, "user": "二", "gold": "好", "alignment": "align", "criteria": [{"id": 3, "text": "汉字", "type": "format"}]}]}
"#;

/// A model that says which answer it is and what it was asked, and a judge that denies a first answer its criteria and confirms a second
/// one's where it has seen the first one before it.
const ECHO: &str = r#"
include = [PIPELINE]
[model.answerer]
rule = [{ match = '(?s)(?P<said>[^\n]*)$', reply = "答{{ turn }}：{{ said }}" }]
[model.sysbench-judge]
rule = [
    { match = '(?s)assistant: (?P<said>答1：你好|好)\n.*1\. 道别', reply = '{"reason": "{{ said }}", "result": {"1": "yes"}}' },
    { match = '(?s)1\. 不超过', reply = '{"reason": "", "result": {"1": "no"}}' },
    { match = '(?s)1\. 两个字', reply = '{"reason": "", "result": {"1": "yes", "2": "不适用"}}' },
    { match = '(?s)assistant: (?P<said>答1：一|好)\n.*1\. 汉字', reply = '{"reason": "{{ said }}", "result": {"1": "no"}}' },
]
"#;

/// What a run in the folder leaves, and what the verb makes of its verdicts.
fn sysbench(folder: &Path, more: &[&str]) -> (Value, Vec<Value>) {
    let set = ["--set", "sysbench.path=sessions.jsonl"];
    let ran = done(folder, &[&["run", "echo.toml", "--out", "out"], &set[..], more].concat());
    assert_accounted(&ran);
    let files = ["eval", "sysbench", "--sessions", "sessions.jsonl", "--verdicts", "out/sysbench-verdicts.jsonl"];
    let scores: Value = serde_json::from_str(&done(folder, &files).out).unwrap();
    assert_eq!(of_run(folder, "sysbench.json"), scores, "the run's own scores");
    (scores["answerer@base"].clone(), rows(&folder.join("out/sysbench-verdicts.jsonl")))
}

/// Turn by turn on the model's own history, judged, scored: as the verb scores the same verdicts.
#[test]
fn sysbench_is_answered_judged_and_scored() {
    let pipeline = format!("{:?}", repository("pipelines/sysbench.toml"));
    let echo = ECHO.replace("PIPELINE", &pipeline);
    let folder = folder(&[("sessions.jsonl", SESSIONS.trim_start()), ("echo.toml", &echo)]);
    let (of, verdicts) = sysbench(folder.path(), &[]);
    let said = |row: &Value| {
        let (response, reasons) = (row["response"].as_str().unwrap(), row["reasons"][0].as_str().unwrap());
        format!("{} {} {response} {reasons}", row["system_id"], row["verdict"])
    };
    let all: std::collections::BTreeSet<String> = verdicts.iter().map(said).collect();
    let expected = ["1 [0] 答1：你好 ", "1 [1] 答2：再见 答1：你好", "2 [1,null] 答1：一 ", "2 [0] 答2：二 答1：一"];
    assert_eq!(all, expected.map(str::to_owned).into());
    assert_eq!((&of["sessions"], &of["undecided"], &of["csr"]["value"]), (&2.into(), &1.into(), &0.4.into()));
    let share = |reading: &str, figure: &str| of[reading][figure]["value"].as_f64().unwrap();
    assert_eq!((share("all_yes", "isr"), share("all_yes", "ssr")), (0.25, 0.0));
    assert_eq!((share("no_no", "isr"), share("no_no", "ssr")), (0.5, 0.25));
    assert_eq!(of["no_no"]["isr_misaligned"], 1.0);
    let page = fs::read_to_string(folder.path().join("out/report.html")).unwrap();
    for text in ["<h3>SysBench</h3>", "ISR, misaligned", "base: 1 of 5 verdicts are neither yes nor no"] {
        assert!(page.contains(text), "no {text:?}");
    }
}

/// On the benchmark's own history, which a loop adds nothing to.
#[test]
fn sysbench_is_answered_on_its_own_history() {
    let pipeline = format!("{:?}", repository("pipelines/sysbench.toml"));
    let echo = ECHO.replace("PIPELINE", &pipeline);
    let folder = folder(&[("sessions.jsonl", SESSIONS.trim_start()), ("echo.toml", &echo)]);
    let (_, verdicts) = sysbench(folder.path(), &["--set", "sysbench-session.history=given"]);
    let reasons: Vec<&Value> = verdicts.iter().filter(|row| row["turn"] == 2).map(|row| &row["reasons"][0]).collect();
    assert_eq!((verdicts.len(), reasons), (4, vec![&Value::from("好"), &Value::from("好")]));
    // An answer that it lacks is no empty one.
    let lacking = SESSIONS.trim_start().replacen(r#""gold": "好""#, r#""gold": null"#, 1);
    fs::write(folder.path().join("sessions.jsonl"), lacking).unwrap();
    let (of, _) = sysbench(folder.path(), &["--set", "sysbench-session.history=given"]);
    assert_eq!((&of["sessions"], &of["missing"]), (&1.into(), &1.into()));
    let aside = rows(&folder.path().join("out/rejected.jsonl"));
    assert_eq!(aside[0]["reason"], "session 1: turn 1 has no `gold`, which the history of turn 2 needs");
}

/// As the pipeline's head says: before and after a training, beside the scores of the training's own examination.
#[test]
fn sysbench_before_and_after_training() {
    let (quickstart, pipeline) = (repository("pipelines/quickstart.toml"), repository("pipelines/sysbench.toml"));
    let text = fs::read_to_string(&pipeline).unwrap();
    let head =
        text.lines().filter_map(|line| line.strip_prefix("#   ")).skip_while(|line| !line.starts_with("include"));
    let head = head.collect::<Vec<_>>().join("\n");
    let head = head.replace("\"quickstart.toml\", \"sysbench.toml\"", &format!("{quickstart:?}, {pipeline:?}"));
    let folder =
        folder(&[("sessions.jsonl", SESSIONS.trim_start()), ("both.toml", &format!("name = \"both\"\n{head}"))]);
    let set = [
        "sysbench.path=sessions.jsonl",
        "profiles.limit=8",
        "heldout.limit=2",
        "train.updates=1",
        "train.batch_size=4",
        "sysbench-respond.max_tokens=30",
    ];
    let set: Vec<&str> = set.iter().flat_map(|value| ["--set", value]).collect();
    assert_accounted(&done(folder.path(), &[&["run", "both.toml", "--out", "out"], &set[..]].concat()));
    assert_eq!(of_run(folder.path(), "sysbench.json").as_object().unwrap().len(), 2);
    assert!(of_run(folder.path(), "scores.json").as_array().unwrap().len() == 2);
    let page = fs::read_to_string(folder.path().join("out/report.html")).unwrap();
    assert!(page.contains("<b><bdi>base</bdi></b>") && page.contains("<b><bdi>train</bdi></b>"));
}

/// What is not part of the scores is said.
#[test]
fn sessions_that_were_not_answered_to_their_end_are_counted() {
    let verdict = |turn: u32| format!("{{\"model\": \"m\", \"system_id\": 1, \"turn\": {turn}, \"verdict\": [1]}}\n");
    let folder = folder(&[("sessions.jsonl", SESSIONS.trim_start()), ("half.jsonl", &verdict(1)), ("none.jsonl", "")]);
    let eval = |verdicts: &str| {
        done(folder.path(), &["eval", "sysbench", "--sessions", "sessions.jsonl", "--verdicts", verdicts])
    };
    let half = eval("half.jsonl").err;
    assert!(half.contains("m: 1 of 2 sessions have no verdicts"), "{half}");
    assert!(half.contains("m: 1 of 2 sessions lack verdicts on some turns"), "{half}");
    assert!(eval("none.jsonl").err.contains("no verdict is there"));
}
