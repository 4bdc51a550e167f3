//! `check`, `graph`, `train` and `logprobs` by hand.

use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use serde_json::Value;

use crate::common::{done, folder, obvert, program, repository, rows, shared};

#[test]
fn every_pipeline_of_the_repository_checks_and_draws() {
    let folder = folder(&[]);
    let mut drawn = 0;
    for entry in fs::read_dir(repository("pipelines")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            done(folder.path(), &["graph", path.to_str().unwrap()]);
            drawn += 1;
        }
    }
    assert!(drawn >= 3, "only {drawn} pipelines");
    let pipeline = repository("pipelines/quickstart.toml");
    let pipeline = pipeline.to_str().unwrap();
    assert!(done(folder.path(), &["check", pipeline]).out.contains("no errors"));
    let draw = |format: &str| done(folder.path(), &["graph", pipeline, "--format", format]).out;
    let (dot, mermaid, svg) = (draw("dot"), draw("mermaid"), draw("svg"));
    assert!(dot.starts_with("digraph") && mermaid.starts_with("flowchart") && svg.contains("<svg"));
    for stage in ["play", "respond", "judge", "reverse", "pair", "verify", "train"] {
        assert!([&dot, &mermaid, &svg].iter().all(|drawing| drawing.contains(stage)), "{stage} is not drawn");
    }
}

/// Relative distance in the Euclidean norm.
fn distance(found: impl Iterator<Item = f64>, expected: impl Iterator<Item = f64>) -> f64 {
    let (mut off, mut size, mut count) = (0.0, 0.0, 0);
    for (a, b) in found.zip(expected) {
        off += (a - b) * (a - b);
        size += b * b;
        count += 1;
    }
    assert!(count > 0);
    (off / size).sqrt()
}

fn numbers(value: &Value) -> impl Iterator<Item = f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap())
}

#[test]
fn log_probs_are_those_of_the_reference() {
    let Some(fixtures) = shared("fixtures") else { return };
    for name in ["llama", "llama31", "qwen2"] {
        let path = |file: &str| fixtures.join(name).join(file).display().to_string();
        let arguments = ["--model", &path("model"), "--adapter", &path("adapter"), "--batch", &path("batch.json")];
        let ran = done(Path::new("."), &[&["logprobs"], &arguments[..]].concat());
        let found: Value = serde_json::from_str(&ran.out).unwrap();
        let bytes = fs::read(path("reference.safetensors")).unwrap();
        let reference = SafeTensors::deserialize(&bytes).unwrap();
        for side in ["policy", "reference"] {
            for response in ["chosen", "rejected"] {
                let expected = doubles(&reference, &format!("logp.{side}.{response}"));
                let off = distance(numbers(&found[side][response]), expected.into_iter());
                assert!(off < 1e-4, "{name} {side} {response}: {off}");
            }
        }
    }
}

fn doubles(tensors: &SafeTensors, name: &str) -> Vec<f64> {
    let data = tensors.tensor(name).unwrap().data();
    data.chunks_exact(8).map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap())).collect()
}

#[test]
fn three_updates_by_hand_end_where_the_reference_ends() {
    let Some(fixtures) = shared("fixtures") else { return };
    for name in ["llama", "llama31", "qwen2"] {
        let folder = folder(&[]);
        let path = |file: &str| fixtures.join(name).join(file).display().to_string();
        let inputs = ["--model", &path("model"), "--adapter", &path("adapter"), "--pairs", &path("batch.json")];
        let settings = "--loss rpo --beta 0.1 --gamma 0.05 --lr 5e-4 --steps 3 --batch-size 6 --schedule constant \
                        --weight-decay 0 --max-grad-norm 0 --no-shuffle --seed 1 --out out";
        let settings: Vec<&str> = settings.split_whitespace().collect();
        done(folder.path(), &[&["train"], &inputs[..], &settings].concat());
        let (bytes, expected) = (
            fs::read(folder.path().join("out/adapter_model.safetensors")).unwrap(),
            fs::read(path("reference.safetensors")).unwrap(),
        );
        let (found, expected) =
            (SafeTensors::deserialize(&bytes).unwrap(), SafeTensors::deserialize(&expected).unwrap());
        let mut compared = 0;
        for tensor in expected.names().into_iter().filter_map(|name| name.strip_prefix("param.step3.")) {
            let data = found.tensor(&format!("base_model.model.{tensor}")).unwrap().data();
            let floats = data.chunks_exact(4).map(|bytes| f64::from(f32::from_le_bytes(bytes.try_into().unwrap())));
            let off = distance(floats, doubles(&expected, &format!("param.step3.{tensor}")).into_iter());
            assert!(off < 1e-4, "{name} {tensor}: {off}");
            compared += 1;
        }
        assert_eq!(compared, found.len());
        assert_eq!(rows(&folder.path().join("out/metrics.jsonl")).len(), 3);
    }
}

const PAIRS: &str = r#"
{"prompt": [{"role": "system", "content": "You are Leo.\nRules:\n- Write at most 5 words."}, {"role": "user", "content": "What do you know about bread?"}], "chosen": [{"role": "assistant", "content": "Bread is warm."}], "rejected": [{"role": "assistant", "content": "Bread is warm and I like it in the kitchen every day."}], "g": 1}
{"prompt": [{"role": "user", "content": "And tea?"}], "chosen": [{"role": "assistant", "content": "Tea is sweet!"}], "rejected": [{"role": "assistant", "content": "tea"}], "g": 2}
"#;

#[test]
fn a_file_of_conversations_is_trained_on() {
    let folder = folder(&[("pairs.jsonl", PAIRS), ("bad.jsonl", "{\"prompt\": 3}\n")]);
    let model = repository("pipelines/quickstart/model").display().to_string();
    let arguments =
        |pairs| ["train", "--model", &model, "--pairs", pairs, "--steps", "8", "--lr", "5e-3", "--out", "out"];
    let ran = done(folder.path(), &arguments("pairs.jsonl"));
    let metrics = rows(&folder.path().join("out/metrics.jsonl"));
    let loss = |row: &Value| row["loss"].as_f64().unwrap();
    assert!(loss(&metrics[7]) < 0.8 * loss(&metrics[0]), "{}", ran.out);
    assert_eq!(metrics[7]["rewards/accuracies"], 1.0);
    // A set that is several files is the same set.
    let (first, rest) = PAIRS.split_at(PAIRS.find('\n').unwrap() + 1);
    fs::create_dir(folder.path().join("set")).unwrap();
    let parts =
        [("pairs-00001-of-00002.jsonl", rest), ("pairs-00000-of-00002.jsonl", first), ("changes.jsonl", "no row\n")];
    parts.iter().for_each(|(name, text)| fs::write(folder.path().join("set").join(name), text).unwrap());
    let adapter = || fs::read(folder.path().join("out/adapter_model.safetensors")).unwrap();
    let whole = adapter();
    fs::remove_dir_all(folder.path().join("out")).unwrap();
    assert!(done(folder.path(), &arguments("set")).err.is_empty() && adapter() == whole);
    let refused = obvert(folder.path(), &arguments("bad.jsonl"));
    assert_eq!(refused.code, 1);
    let reasons = ["bad.jsonl: no row can be used", "line 1: `prompt` is not"];
    assert!(reasons.iter().all(|reason| refused.err.contains(reason)), "{}", refused.err);
}

#[test]
fn memory_is_bounded_by_settings_that_change_rounding_only() {
    let folder = folder(&[("pairs.jsonl", PAIRS)]);
    let model = repository("pipelines/quickstart/model").display().to_string();
    let losses = |out: &str, settings: &[&str]| {
        let arguments = ["train", "--model", &model, "--pairs", "pairs.jsonl", "--steps", "4", "--out", out];
        done(folder.path(), &[&arguments[..], settings].concat());
        let metrics = rows(&folder.path().join(out).join("metrics.jsonl"));
        metrics.iter().map(|row| row["loss"].as_f64().unwrap()).collect::<Vec<_>>()
    };
    let kept = losses("kept", &[]);
    let small = losses("small", &["--micro-tokens", "1"]);
    assert!(kept.iter().zip(&small).all(|(a, b)| (a - b).abs() < 1e-4), "{kept:?} {small:?}");
    // To compute again what was not kept changes no bit: it is the same run, and goes on.
    assert_eq!(kept, losses("recomputed", &["--activations", "recompute"]));
    assert_eq!(kept, losses("kept", &["--activations", "recompute"]));
    let rounded = losses("rounded", &["--storage", "bf16"]);
    assert!(kept.iter().zip(&rounded).all(|(a, b)| (a - b).abs() < 0.1), "{kept:?} {rounded:?}");
    // A rounded model is another model: its run is not the same run.
    let arguments = ["train", "--model", &model, "--pairs", "pairs.jsonl", "--steps", "4", "--out", "kept"];
    let refused = obvert(folder.path(), &[&arguments[..], &["--storage", "bf16"]].concat());
    assert!(refused.code == 1 && refused.err.contains("another model"), "{}", refused.err);
}

/// A good row among bad ones, one of them too long and one with a history that can be shortened.
#[test]
fn bad_rows_are_set_aside_and_long_histories_lose_turns() {
    let good = PAIRS.trim().lines().next().unwrap();
    let mut pair: Value = serde_json::from_str(good).unwrap();
    let history = pair["prompt"].as_array_mut().unwrap();
    let talk = ["And tea?", "Tea is sweet!"].repeat(40);
    let turn =
        |(at, text): (usize, &&str)| serde_json::json!({"role": (["user", "assistant"][at % 2]), "content": text});
    history.splice(1..1, talk.iter().enumerate().map(turn));
    let long = pair.to_string();
    pair["chosen"][0]["content"] = "Bread is warm. ".repeat(60).into();
    let lines = [good, "{", r#"{"prompt": 3}"#, "", &long, &pair.to_string(), r#"{"prompt": []}"#].join("\n");
    let folder = folder(&[("pairs.jsonl", &lines)]);
    let model = repository("pipelines/quickstart/model").display().to_string();
    let arguments = ["train", "--model", &model, "--pairs", "pairs.jsonl", "--max-length", "200", "--out", "out"];
    let strict = obvert(folder.path(), &[&arguments[..], &["--strict"]].concat());
    assert!(strict.code == 1 && strict.err.contains("pairs.jsonl: line 2: "), "{}", strict.err);
    let ran = done(folder.path(), &arguments);
    let rejected = rows(&folder.path().join("out/rejected.jsonl"));
    let reason = |row: &Value| row["reason"].as_str().unwrap().to_owned();
    assert_eq!(rejected.iter().map(|row| row["line"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 3, 6, 7]);
    assert!(
        reason(&rejected[1]).contains("`prompt`") && reason(&rejected[2]).starts_with("max_length: "),
        "{rejected:?}"
    );
    for told in ["4 rows were set aside, the first one line 2: ", "1 pairs lost the oldest turns"] {
        assert!(ran.out.contains(told), "{}", ran.out);
    }
    let metrics = rows(&folder.path().join("out/metrics.jsonl"));
    assert_eq!((&metrics[0]["pairs/shortened"], &metrics[0]["pairs/rejected"]), (&1.0.into(), &4.0.into()));
    let logprobs = ["logprobs", "--model", &model, "--batch", "pairs.jsonl"];
    let refused = obvert(folder.path(), &logprobs);
    assert!(refused.code == 1 && refused.err.contains("line 2: "), "{}", refused.err);
}

#[test]
fn kto_takes_single_answers_and_a_folder_keeps_its_run() {
    let said = |answer: &str, label: bool| {
        serde_json::json!({
            "prompt": [{"role": "user", "content": "And tea?"}],
            "completion": [{"role": "assistant", "content": answer}],
            "label": label,
        })
    };
    let rows_of = [said("Tea is sweet!", true), said("tea", false), said("No.", false)].map(|row| row.to_string());
    let folder = folder(&[("pairs.jsonl", &rows_of.join("\n"))]);
    let model = repository("pipelines/quickstart/model").display().to_string();
    let arguments = |loss| {
        let fixed = ["train", "--model", &model, "--pairs", "pairs.jsonl", "--epochs", "4", "--out", "out"];
        [&fixed[..], &["--loss", loss, "--lr", "5e-3"]].concat()
    };
    done(folder.path(), &arguments("kto"));
    let metrics = rows(&folder.path().join("out/metrics.jsonl"));
    let column = |name: &str| metrics.iter().map(|row| row[name].as_f64().unwrap()).collect::<Vec<_>>();
    assert_eq!(column("epoch"), [1.0, 2.0, 3.0, 4.0]);
    assert!(column("loss")[3] < column("loss")[0] && column("tokens/s").iter().all(|speed| *speed > 0.0));
    let again = done(folder.path(), &arguments("kto"));
    assert!(again.out.contains("going on after 4 of 4 updates"), "{}", again.out);
    let refused = obvert(folder.path(), &[&arguments("sft")[..], &["--strict"]].concat());
    assert!(refused.err.contains("line 2: pair: chosen is empty"), "{}", refused.err);
}

#[test]
fn a_loss_says_which_rows_it_cannot_use() {
    let pair = |chosen: &str, rejected: &str, g: Value| {
        let message = |role: &str, content: &str| serde_json::json!([{"role": role, "content": content}]);
        let (chosen, rejected) = (message("assistant", chosen), message("assistant", rejected));
        serde_json::json!({"prompt": message("user", "And tea?"), "chosen": chosen, "rejected": rejected, "g": g})
    };
    let rows_of = [
        pair("Tea is sweet!", "tea", 1.into()),
        pair("tea", "Tea is sweet!", Value::Null),
        pair("Tea.", "tea", "high".into()),
    ];
    let folder = folder(&[("pairs.jsonl", &rows_of.map(|row| row.to_string()).join("\n"))]);
    let model = repository("pipelines/quickstart/model").display().to_string();
    let train = |loss: &'static str, out: &'static str| {
        ["train", "--model", &model, "--pairs", "pairs.jsonl", "--batch-size", "2", "--loss", loss, "--out", out]
            .map(str::to_owned)
    };
    let ran = |arguments: &[String]| obvert(folder.path(), &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let aside = |out: &str| {
        let rows = rows(&folder.path().join(out).join("rejected.jsonl"));
        rows.iter().map(|row| (row["line"].as_u64().unwrap(), row["reason"].to_string())).collect::<Vec<_>>()
    };
    let rpo = ran(&train("rpo", "rpo"));
    assert!(rpo.code == 0 && rpo.err.contains("1 of 2 rows have no `g`"), "{}", rpo.err);
    assert!(matches!(&aside("rpo")[..], [(3, reason)] if reason.contains("`g` is not a number")), "{:?}", aside("rpo"));
    // What a loss does not read may be anything.
    let dpo = ran(&train("dpo", "dpo"));
    assert!(dpo.code == 0 && dpo.err.is_empty() && aside("dpo").is_empty(), "{}", dpo.err);
    let iopo = ran(&train("iopo", "iopo"));
    assert!(iopo.code == 0, "{}", iopo.err);
    assert!(matches!(&aside("iopo")[..], [(3, reason)] if reason.contains("its mirror")), "{:?}", aside("iopo"));
    let strict = ran(&[&train("iopo", "strict")[..], &["--strict".to_owned()]].concat());
    assert!(strict.code == 1 && strict.err.contains("line 3: its mirror"), "{}", strict.err);
    let best = folder.path().join("dpo/best");
    std::fs::create_dir(&best).unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(folder.path().join("dpo").join(file), best.join(file)).unwrap();
    }
    let more = ["--restart", "--adapter", "dpo/best"].map(str::to_owned);
    let onto_itself = ran(&[&train("dpo", "dpo")[..], &more].concat());
    assert!(onto_itself.code == 1 && onto_itself.err.contains("choose another --out"), "{}", onto_itself.err);
    assert!(best.join("adapter_model.safetensors").exists());
}

/// Three pairs of one dialogue and one of another: by halves, three or one are trained on, never two.
#[test]
fn validation_holds_out_whole_dialogues() {
    let said = |dialogue: &str, query: &str| {
        let message = |role: &str, content: &str| serde_json::json!([{"role": role, "content": content}]);
        serde_json::json!({
            "prompt": message("user", query),
            "chosen": message("assistant", "Tea is sweet!"),
            "rejected": message("assistant", "tea"),
            "dialogue": dialogue,
            "g": 1,
        })
    };
    let pairs = [said("a", "And tea?"), said("a", "And bread?"), said("a", "Why tea?"), said("b", "And tea now?")];
    let folder = folder(&[("pairs.jsonl", &pairs.map(|row| row.to_string()).join("\n"))]);
    let model = repository("pipelines/quickstart/model").display().to_string();
    let fixed = ["train", "--model", &model, "--pairs", "pairs.jsonl", "--out", "out"];
    let ran = done(folder.path(), &[&fixed[..], &["--validation", "0.5", "--batch-size", "1"]].concat());
    let metrics = rows(&folder.path().join("out/metrics.jsonl"));
    let (validations, updates): (Vec<_>, Vec<_>) = metrics.iter().partition(|row| row.get("eval_loss").is_some());
    assert!([1, 3].contains(&updates.len()) && validations.len() == 1, "{}", ran.out);
    assert!(folder.path().join("out/best/adapter_model.safetensors").exists());
}

#[test]
fn shells_and_man_know_the_verbs() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        assert!(done(folder.path(), &["completions", shell]).out.contains("preview"), "{shell}");
    }
    done(folder.path(), &["man", "pages"]);
    let page = fs::read_to_string(folder.path().join("pages/obvert-steer.1")).unwrap();
    assert!(page.contains("Pause, resume or drain a run"), "{page}");
}

#[test]
fn logs_are_for_people_or_for_programs_or_errors_alone() {
    let folder = crate::slow::prepared();
    let run = |log: &str, out: &str| done(folder.path(), &["run", "slow.toml", "--out", out, "--log", log]);
    let said = run("json", "a").err;
    let events: Vec<Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    let last = events.iter().rfind(|event| event["target"] == "progress" && event["stage"] == "profiles");
    assert_eq!(
        last.map(|event| (event["inputs"].clone(), event["level"].clone())),
        Some((10.into(), "INFO".into())),
        "{said}"
    );
    let quiet = run("quiet", "b");
    assert_eq!((quiet.out.as_str(), quiet.err.as_str()), ("", ""));
    let text = run("text", "c");
    assert!(text.err.contains("s  profiles 10>10") && text.out.contains("everything is in"), "{}", text.err);
    // What fails is said in the same way.
    let failed = obvert(folder.path(), &["--log", "json", "run", "nowhere.toml"]);
    let event: Value = serde_json::from_str(&failed.err).unwrap_or_else(|_| panic!("{}", failed.err));
    assert!(failed.code == 2 && event["message"].as_str().unwrap().starts_with("nowhere.toml: "), "{event}");
    // Whoever listened has gone: the run does not depend on it.
    let (listens, says) = std::io::pipe().unwrap();
    drop(listens);
    let mut unheard = program(folder.path(), &["run", "slow.toml", "--out", "d", "--log", "json"]);
    assert!(unheard.env("OBVERT_LOG", "trace").stderr(says).status().unwrap().success());
    let pairs = |out: &str| fs::read(folder.path().join(out).join("pairs/pairs.jsonl")).unwrap();
    assert!(pairs("a") == pairs("d"));
}
