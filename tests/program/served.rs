//! Models of a server: what it does wrong costs calls and not the run, and what it is told stays between the two.

pub mod server;
mod small;
mod speaker;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{Ran, assert_accounted, counts, folder, program, repository, rows};
use server::{KEY, Manner, Server};
use speaker::{WORDS, satisfies};

const PIPELINE: &str = concat!(
    r#"
name = "served"

[model.server]
kind = "openai"
base_url = "URL"
model = "good"
key = "${env:OBVERT_TEST_KEY}"
timeout_s = 1
LIMITS

"#,
    sessions!(),
    r#"
[stage.play]
type = "persona-play"
from = "session"

[stage.respond]
type = "respond"
from = "play"
model = "server"

[stage.judge]
type = "judge"
from = "respond"
model = "server"

[stage.reverse]
type = "reverse"
from = "profiles"
model = "server"

[stage.pair]
type = "pair"
from = "judge"
with = "reverse"

[stage.verify]
type = "verify"
from = "pair"
model = "server"

[stage.pairs]
type = "pairs"
from = "verify"
"#
);

/// So many profiles, and a pipeline that asks the server.
fn prepared(server: &Server, profiles: usize, change: impl Fn(String) -> String) -> TempDir {
    let pipeline = change(PIPELINE.replace("URL", &server.url)).replace("LIMITS", "");
    let constraint = |(index, word): (usize, &&str)| json!({ "id": format!("c{index}"), "text": format!("The answer must contain the word {word}.") });
    let profile = |number: usize| {
        let constraints: Vec<Value> = WORDS[..4].iter().enumerate().map(constraint).collect();
        json!({ "id": format!("p{number}"), "name": "", "description": format!("Shop {number}."), "constraints": constraints })
    };
    let profiles: String = (0..profiles).map(|number| profile(number).to_string() + "\n").collect();
    folder(&[
        ("served.toml", &pipeline),
        ("profiles.jsonl", &profiles),
        ("personas.jsonl", "{\"id\": \"u1\", \"queries\": [\"Hello?\"]}\n"),
    ])
}

fn run(folder: &Path) -> Ran {
    let mut command = program(folder, &["run", "served.toml", "--out", "out"]);
    command.env("OBVERT_TEST_KEY", KEY).stdout(Stdio::piped()).output().unwrap().into()
}

/// The pairs of a run by what they are about, without what says how they came about.
fn pairs(folder: &Path) -> BTreeMap<String, Value> {
    let pairs = rows(&folder.join("out/pairs/pairs.jsonl"));
    pairs
        .into_iter()
        .map(|pair| (format!("{} {} {}", pair["prompt"], pair["chosen"], pair["rejected"]), pair))
        .collect()
}

/// Whether the chosen response of a pair satisfies all of x_S, by what x_S says.
fn is_perfect(pair: &Value) -> bool {
    let text = pair["chosen"][0]["content"].as_str().unwrap();
    pair["constraints"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|constraint| constraint["active"] == json!(true))
        .all(|constraint| satisfies(constraint["text"].as_str().unwrap(), text))
}

/// Whether the rejected one violates as many as the pair says.
fn differs(pair: &Value) -> bool {
    let text = pair["rejected"][0]["content"].as_str().unwrap();
    let violated = pair["constraints"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|c| c["active"] == json!(true) && !satisfies(c["text"].as_str().unwrap(), text));
    violated.count() as u64 == pair["g"].as_u64().unwrap()
}

/// All texts of a folder's files.
fn contents(folder: &Path) -> Vec<u8> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { contents(&path) } else { fs::read(path).unwrap() }).collect()
}

#[test]
fn with_models_that_follow_their_instructions_every_pair_is_clean() {
    let server = Server::start(Manner::default());
    let folder = prepared(&server, 12, |pipeline| pipeline);
    let ran = run(folder.path());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_accounted(&ran);
    let made = pairs(folder.path());
    assert!(made.len() > 100 && made.values().all(|pair| is_perfect(pair) && differs(pair)), "{}", made.len());
    assert_eq!((server.seen.strangers.load(std::sync::atomic::Ordering::Relaxed), server.most_attempts()), (0, 1));
    // What was paid for is told by stage.
    let told = ran.out.lines().find(|line| line.starts_with("server, for judge")).unwrap_or_default();
    assert_eq!(told.split_whitespace().skip(3).collect::<Vec<_>>(), ["60", "0", "600", "300"], "{}", ran.out);
    // Another run has it all.
    let calls = server.calls();
    assert_eq!(run(folder.path()).code, 0);
    assert_eq!(server.calls(), calls);
    let told = [ran.out.as_bytes(), ran.err.as_bytes(), &contents(folder.path())].concat();
    assert!(!told.windows(KEY.len()).any(|bytes| bytes == KEY.as_bytes()), "the key is somewhere");
}

/// A prompt is read once for all of its samples.
#[test]
fn samples_of_a_prompt_are_asked_for_at_once() {
    let server = Server::start(Manner::default());
    let folder = prepared(&server, 12, |pipeline| pipeline.replace("LIMITS", "n = 4"));
    let ran = run(folder.path());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_accounted(&ran);
    let made = pairs(folder.path());
    assert!(made.len() > 100 && made.values().all(|pair| is_perfect(pair) && differs(pair)), "{}", made.len());
    let told = ran.out.lines().find(|line| line.starts_with("server, for respond")).unwrap_or_default();
    let [replies, _, read, written] =
        told.split_whitespace().skip(3).map(|n| n.parse::<u32>().unwrap()).collect::<Vec<_>>()[..]
    else {
        panic!("{told}")
    };
    // Five samples of twelve prompts, in two calls each, or some more where a lane was there before the last one came.
    assert!(replies == 60 && written == 300 && (240..=480).contains(&read), "{told}");
    let others: u32 = ["judge", "reverse", "verify"].iter().map(|stage| counts(&ran, stage)[4] as u32).sum();
    assert_eq!(server.calls() - others, read / 10, "{} calls, {others} of them by others", server.calls());
}

/// Servers differ in what they can be told of a reply's form: the best that one does not refuse is found out once.
#[test]
fn a_server_that_refuses_schemas_is_asked_in_another_way() {
    let server = Server::start(Manner { plain: true, ..Manner::default() });
    let folder = prepared(&server, 12, |pipeline| pipeline.replace("LIMITS", "max_in_flight = 1"));
    let ran = run(folder.path());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        !folder.path().join("out/rejected.jsonl").exists()
            || rows(&folder.path().join("out/rejected.jsonl")).is_empty()
    );
    let asked = server.calls();
    assert!(pairs(folder.path()).len() > 100);
    let always =
        prepared(&server, 12, |pipeline| pipeline.replace("LIMITS", "structured = \"json_schema\"\nretries = 0"));
    let ran = run(always.path());
    let aside = rows(&always.path().join("out/rejected.jsonl"));
    assert!(
        ran.code == 0 && aside.iter().all(|row| row["reason"].as_str().unwrap().contains("400 Bad Request")),
        "{}",
        ran.err
    );
    // The refusal itself was the only call too many.
    let doctored: Ran =
        program(folder.path(), &["doctor", "served.toml"]).env("OBVERT_TEST_KEY", KEY).output().unwrap().into();
    let said = [
        "ok   lists `good`, whose context is 4096 tokens",
        "ok   answers in ",
        "note is told \"a JSON object\"",
        "cannot be handed adapters",
    ];
    for said in said {
        assert!(doctored.code == 0 && doctored.out.contains(said), "{said} is not in {}{}", doctored.out, doctored.err);
    }
    assert!(asked > 150 && server.most_attempts() <= 2);
}

/// The paper's pipeline as it stands in the repository, asked of a server of its three models.
#[test]
fn the_whole_method_makes_clean_pairs_of_roles() {
    let server = Server::start(Manner { latency: Duration::from_millis(2), ..Manner::default() });
    let folder = folder(&[]);
    let urls = ["strong", "judge", "policy"].map(|model| format!("model.{model}.base_url={}", server.url));
    let keys = ["strong", "judge", "policy"].map(|model| format!("model.{model}.key=${{env:OBVERT_TEST_KEY}}"));
    let pipeline = repository("pipelines/paper.toml");
    let mut arguments = vec!["run", pipeline.to_str().unwrap(), "--out", "out"];
    urls.iter().chain(&keys).for_each(|setting| arguments.extend(["--set", setting]));
    let ran: Ran = program(folder.path(), &arguments).env("OBVERT_TEST_KEY", KEY).output().unwrap().into();
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_accounted(&ran);
    let aside = folder.path().join("out/rejected.jsonl");
    assert!(!aside.exists() || rows(&aside).is_empty(), "{:?}", rows(&aside).first());
    // No dialogue was begun and thrown away because another persona came.
    assert_eq!(counts(&ran, "respond")[4], counts(&ran, "respond")[0] * 5);
    let made = pairs(folder.path());
    assert!(made.len() > 500 && made.values().all(|pair| is_perfect(pair) && differs(pair)), "{}", made.len());
    let some = |what: &dyn Fn(&Value) -> bool| made.values().filter(|pair| what(pair)).count();
    let constraints = |pair: &Value| pair["constraints"].as_array().unwrap().clone();
    // What nobody can check and what excludes something else was written anew; triggers decide what counts in a turn.
    assert_eq!(
        some(&|pair| pair["prompt"].to_string().contains("Be wise") || pair["prompt"].to_string().contains("20 words")),
        0
    );
    let active = |pair: &Value| constraints(pair).iter().filter(|c| c["active"] == json!(true)).count();
    assert!(some(&|pair| active(pair) == 6) > 100 && some(&|pair| active(pair) == 7) > 100);
    // Revisions join where all answers are poor.
    let revised = some(&|pair| pair["provenance"]["chosen_model"] == "strong@critique");
    assert!(revised > 0 && revised < made.len() / 2, "{revised} of {}", made.len());
    assert!(some(&|pair| pair["turn"] == json!(4)) > 50, "dialogues end early");
    let varied: Value = serde_json::from_slice(&fs::read(folder.path().join("out/diversity.json")).unwrap()).unwrap();
    assert_eq!(varied["profiles"], json!({ "count": 20, "near_duplicates": 20 }));
    assert!(
        varied["types"].as_array().unwrap().iter().any(|row| row["name"] == "words" && row["coverage"] == json!(1.0))
    );
    let report = fs::read_to_string(folder.path().join("out/report.html")).unwrap();
    assert!(report.contains("20 profiles, of which 20 nearly repeat another") && report.contains("<b>content</b>"));
}

#[test]
fn a_judge_that_lies_is_found_out_by_asking_again() {
    let server = Server::start(Manner { lies: 100, ..Manner::default() });
    let share = |change: fn(String) -> String| {
        let folder = prepared(&server, 40, change);
        assert_eq!(run(folder.path()).code, 0);
        let made = pairs(folder.path());
        let imperfect = made.values().filter(|pair| !is_perfect(pair)).count();
        (imperfect as f64 / made.len() as f64, made.len())
    };
    let (with, kept) = share(|pipeline| pipeline);
    let (without, all) = share(|pipeline| pipeline.replace("from = \"verify\"", "from = \"pair\""));
    eprintln!("imperfect chosen responses: {with:.3} of {kept} pairs with verify, {without:.3} of {all} without");
    assert!(with < without / 2.0 && kept > all / 4, "{with} of {kept}, {without} of {all}");
}

/// As [`run`], with what memory it takes from time to time, in KiB.
fn measured(folder: &Path) -> (Ran, Vec<u64>) {
    let mut command = program(folder, &["run", "served.toml", "--out", "out"]);
    let mut child = command.env("OBVERT_TEST_KEY", KEY).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut seen = Vec::new();
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        seen.extend(line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()));
        std::thread::sleep(Duration::from_millis(50));
    }
    (child.wait_with_output().unwrap().into(), seen)
}

/// Ten thousand calls, a fifth of which go wrong in fourteen ways.
#[test]
fn faults_of_a_server_cost_calls_and_items_and_nothing_else() {
    const PROFILES: usize = 620;

    let sound = Server::start(Manner::default());
    let faulty = Server::start(Manner { faults: 200, ..Manner::default() });
    let [without, with] = [&sound, &faulty].map(|server| {
        let folder =
            prepared(server, PROFILES, |pipeline| pipeline.replace("LIMITS", "retries = 3\nmax_in_flight = 64"));
        let (ran, memory) = measured(folder.path());
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert_accounted(&ran);
        (folder, ran, memory)
    });
    // Memory does not grow with the calls that were made.
    let (early, late) = with.2.split_at(with.2.len() / 2);
    let [early, late] = [early, late].map(|part| part.iter().copied().max().unwrap_or_default());
    eprintln!("memory at most {early} KiB in the first half, {late} KiB in the second");
    assert!(late * 2 < early * 3, "{early} KiB, then {late} KiB");
    let (expected, made) = (pairs(without.0.path()), pairs(with.0.path()));
    eprintln!(
        "{} calls, {:?}, {} of {} pairs",
        faulty.calls(),
        faulty.seen.faults.lock().unwrap(),
        made.len(),
        expected.len()
    );
    assert!(faulty.calls() > 10_000 && faulty.seen.faults.lock().unwrap().len() == 14);
    assert!(faulty.most_attempts() <= 4, "a call was made {} times", faulty.most_attempts());
    // What came through is what came through without faults. Where an answer is missing, another one with the same verdicts may
    // stand in its place.
    let aside = rows(&with.0.path().join("out/rejected.jsonl"));
    let lost: Vec<String> =
        aside.iter().filter(|row| row["stage"] != "verify").map(|row| row["item"].to_string()).collect();
    let whole = |pair: &Value| {
        let profile = format!("\"{}\"", pair["profile"].as_str().unwrap());
        !lost.iter().any(|input| input.contains(&profile))
    };
    assert!(made.len() * 100 > expected.len() * 95, "{} of {}", made.len(), expected.len());
    assert!(made.iter().filter(|(_, pair)| whole(pair)).all(|(key, pair)| expected.get(key) == Some(pair)));
    assert!(made.values().filter(|pair| whole(pair)).count() * 10 > made.len() * 9, "{} items were lost", lost.len());
    let missing = expected.iter().filter(|(key, pair)| whole(pair) && !made.contains_key(*key)).count();
    assert_eq!(
        missing as i64,
        counts(&with.1, "verify")[2]
            - aside.iter().filter(|row| row["stage"] == "verify" && !whole(&row["item"])).count() as i64
    );
    let aside = aside.len() as i64;
    let stages = ["respond", "judge", "reverse", "pair", "verify"].map(|stage| counts(&with.1, stage)[2]);
    assert_eq!(aside, stages.iter().sum::<i64>());
}

#[test]
fn what_would_fail_for_all_ends_the_run_at_once() {
    let server = Server::start(Manner::default());
    let folder = prepared(&server, 5, |pipeline| pipeline);
    let with = |key: &str, more: &[&str]| {
        let arguments = [&["run", "served.toml", "--out", "out"], more].concat();
        let ran: Ran = program(folder.path(), &arguments).env("OBVERT_TEST_KEY", key).output().unwrap().into();
        assert!(ran.code == 1 && !ran.err.contains(key), "{}", ran.err);
        ran
    };
    let refused = with("sk-wrong", &[]).err;
    assert!(
        refused.contains("model server") && refused.contains("401 Unauthorized: the key Bearer *** is not known"),
        "{refused}"
    );
    let spent = with(KEY, &["--set", "model.server.budget.calls=7"]);
    assert!(spent.err.contains("its budget of 7 calls is used up"), "{}", spent.err);
    assert!(spent.err.contains("tokens in"), "what was paid is shown: {}", spent.err);
    assert_eq!(server.calls(), 7);
    // What was paid is kept.
    assert_eq!(run(folder.path()).code, 0);
    assert_eq!(server.most_attempts(), 1);
    // A server that is not there answers nobody: what another one was asked for stays.
    let kept = || fs::read(folder.path().join("out/pairs/pairs.jsonl")).unwrap();
    let (before, nobody) = (kept(), "model.server.base_url=http://127.0.0.1:9/v1");
    let unreached = with(KEY, &["--set", nobody, "--set", "model.server.retries=1"]).err;
    assert!(unreached.contains("the server cannot be asked") && unreached.contains("(2 attempts)"), "{unreached}");
    assert!(!before.is_empty() && kept() == before);
    fs::write(
        folder.path().join("key.toml"),
        fs::read_to_string(folder.path().join("served.toml")).unwrap().replace("${env:OBVERT_TEST_KEY}", KEY),
    )
    .unwrap();
    let ran: Ran = program(folder.path(), &["run", "key.toml"]).output().unwrap().into();
    assert!(
        ran.code == 2
            && ran.err.contains("`key` is a secret")
            && ran.err.contains("write `${env:NAME}`")
            && !ran.err.contains(KEY),
        "{}",
        ran.err
    );
}

#[test]
fn no_more_calls_begin_in_a_minute_than_are_allowed() {
    let server = Server::start(Manner { latency: Duration::from_millis(1), ..Manner::default() });
    let folder = prepared(&server, 1, |pipeline| pipeline.replace("LIMITS", "requests_per_minute = 600"));
    let begin = std::time::Instant::now();
    assert_eq!(run(folder.path()).code, 0);
    // Ten a second, after the first ten.
    let least = (f64::from(server.calls()) - 12.0) / 10.0;
    assert!(least > 0.2 && begin.elapsed().as_secs_f64() >= least, "{} calls in {:?}", server.calls(), begin.elapsed());
}
