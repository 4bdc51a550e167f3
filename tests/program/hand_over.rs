//! An adapter for servers: what lies in the exported folder, and what the server answers there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

use crate::common::{Ran, done, obvert, program, repository};
use crate::served::server::{KEY, Manner, Server};
use crate::slow::prepared;

/// The folder of a run with an adapter, and the base model.
fn trained() -> (TempDir, String) {
    let folder = prepared();
    done(folder.path(), &["run", "slow.toml", "--out", "out", "--set", "train.updates=1", "--set", "train.lr=0.01"]);
    (folder, repository("pipelines/quickstart/model").to_string_lossy().into_owned())
}

fn export(folder: &Path, model: &str, to: &str, more: &[&str]) -> Ran {
    obvert(folder, &[&["export", "out", "--to", to, "--model", model, "--out", to], more].concat())
}

#[test]
fn every_server_finds_what_it_loads() {
    let (folder, model) = trained();
    let at = |path: &str| folder.path().join(path);
    let text = |path: &str| fs::read_to_string(at(path)).unwrap();
    let shell = ["--base", "someone/a model", "--name", "mine"];
    for (to, said) in [
        (
            "vllm",
            "vllm serve 'someone/a model' --enable-lora --max-lora-rank 8 --lora-modules mine=\"$PWD\" --generation-config vllm",
        ),
        ("llama.cpp", "llama-server -m base.gguf --lora adapter.gguf --jinja"),
        ("ollama", "ollama create mine -f Modelfile"),
    ] {
        let ran = export(folder.path(), &model, to, &shell);
        assert!(ran.code == 0 && ran.err.is_empty() && ran.out.contains(said), "{to}: {} {}", ran.out, ran.err);
        assert!(text(&format!("{to}/{to}.md")).contains(said), "{to}");
        for name in ["README.md", "curves.svg"] {
            assert!(text(&format!("{to}/{name}")) == text(&format!("out/adapter/{name}")), "{to}: {name}");
        }
    }
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        assert_eq!(fs::read(at("vllm").join(name)).unwrap(), fs::read(at("out/adapter").join(name)).unwrap());
    }
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        assert_eq!(fs::read(at("vllm").join(name)).unwrap(), fs::read(Path::new(&model).join(name)).unwrap());
    }
    assert_eq!(fs::read(at("ollama/adapter.gguf")).unwrap(), fs::read(at("llama.cpp/adapter.gguf")).unwrap());
    let modelfile = text("ollama/Modelfile");
    assert!(modelfile.starts_with("FROM someone/a model\nADAPTER ./adapter.gguf\n"), "{modelfile}");
    assert!(modelfile.contains("\nPARAMETER repeat_penalty 1\nPARAMETER stop \""), "{modelfile}");
    assert!(text("llama.cpp/llama.cpp.md").contains(&format!("convert_hf_to_gguf.py {model} --outfile base.gguf")));
}

/// Commands are for the exported folder, wherever the paths were given.
#[test]
fn commands_name_models_by_where_they_are() {
    let (folder, model) = trained();
    symlink(&model, folder.path().join("base")).unwrap();
    let ran = export(folder.path(), "base", "vllm", &[]);
    assert!(ran.code == 0 && ran.out.contains(&format!("vllm serve {model} --enable-lora")), "{}", ran.out);
    let ran = export(folder.path(), "base", "llama.cpp", &["--base", "/models/m.gguf"]);
    assert!(ran.out.contains("llama-server -m /models/m.gguf --lora adapter.gguf"), "{}", ran.out);
    let page = fs::read_to_string(folder.path().join("llama.cpp/llama.cpp.md")).unwrap();
    assert!(!page.contains("convert_hf_to_gguf"), "{page}");
}

/// Exact settings with their defaults, curves, and the commands that make and serve it.
#[test]
fn a_card_says_what_an_adapter_is() {
    let (folder, _) = trained();
    let card = fs::read_to_string(folder.path().join("out/adapter/README.md")).unwrap();
    for text in [
        "base_model: \"model\"\nlibrary_name: peft\n",
        "- reverse-preference-optimization\n",
        "1 of 1 updates were made",
        "| `lr` | `0.01` |",
        "| `beta` | `0.1` |",
        "| `gamma` | `0.05` |",
        "| `rank` | `8` |",
        "| `weight_decay` | `0.0` |",
        "| `loss` | 0.7",
        "![Loss, rewards, margin and accuracy over the updates](curves.svg)",
        "obvert run slow.toml --set train.updates=1 --set train.lr=0.01\n",
        "obvert export RUN/adapter --to vllm",
        "[stage.train]",
    ] {
        assert!(card.contains(text), "{text}: {card}");
    }
    assert!(!card.contains("device") && !card.contains("total_steps"), "{card}");
    let curves = fs::read_to_string(folder.path().join("out/adapter/curves.svg")).unwrap();
    assert!(curves.starts_with("<svg xmlns=") && curves.matches("<polyline").count() == 5, "{curves}");
    // By itself the trainer says as much.
    let model = repository("pipelines/quickstart/model").to_string_lossy().into_owned();
    let by_hand = ["train", "--model", &model, "--pairs", "out", "--steps", "2", "--loss", "dpo", "--out", "by hand"];
    done(folder.path(), &by_hand);
    let card = fs::read_to_string(folder.path().join("by hand/README.md")).unwrap();
    for text in
        ["- dpo\n", "| `epochs` | `1` |", "--loss dpo --out 'by hand'\n", "export 'by hand' --to", "(curves.svg)"]
    {
        assert!(card.contains(text), "{text}: {card}");
    }
}

/// A server's answers, word for word or not, and where they part.
#[test]
fn prompts_are_replayed_through_the_server() {
    let (folder, model) = trained();
    let ask = |says: &'static [&'static str]| {
        let server = Server::start(Manner { says, ..Manner::default() });
        let replay = [
            "--name",
            "good",
            "--prompts",
            "1",
            "--max-tokens",
            "5",
            "--key-env",
            "OBVERT_TEST_KEY",
            "--replay",
            &server.url,
        ];
        let arguments =
            [&["export", "out", "--to", "vllm", "--model", &model, "--out", "served"], &replay[..]].concat();
        let ran: Ran = program(folder.path(), &arguments).env("OBVERT_TEST_KEY", KEY).output().unwrap().into();
        assert!(ran.code == 0, "{}", ran.err);
        (ran.out, server.seen.models.lock().unwrap().clone())
    };
    let (out, models) = ask(&["#"]);
    assert!(out.contains("replayed 1 prompts") && out.contains(": 0 answered as here"), "{out}");
    assert_eq!(models.into_keys().collect::<Vec<_>>(), ["good"], "the adapter is asked for by its name");
    let (_, parting) = out.split_once("prompt 1: alike for 0 of ").unwrap();
    let here = parting.split_once("then \"").unwrap().1.split_once("\" here").unwrap().0;
    let here: &'static str = here.to_owned().leak();
    let (out, _) = ask(Box::leak(Box::new([here])));
    assert!(out.contains(": 1 answered as here, word for word") && !out.contains("prompt 1"), "{out}");
}

#[test]
fn what_is_wrong_with_a_hand_over_is_said() {
    let (folder, model) = trained();
    fs::create_dir_all(folder.path().join("taken")).unwrap();
    fs::write(folder.path().join("taken/mine.txt"), "").unwrap();
    for stage in ["a", "b"] {
        fs::create_dir_all(folder.path().join("many").join(stage).join("adapter")).unwrap();
        fs::write(folder.path().join("many").join(stage).join("adapter/adapter_config.json"), "{}").unwrap();
    }
    let cases: [(&[&str], i32, &str); 7] = [
        (&["out", "--to", "vllm", "--out", "x"], 2, "vllm needs --model"),
        (&["out", "--to", "vllm", "--model", &model, "--out", "taken"], 2, "`mine.txt` is in it"),
        (&["many", "--to", "ollama", "--model", &model, "--out", "x"], 2, "name one: many/a/adapter, many/b/adapter"),
        (&["out/pairs", "--to", "ollama", "--model", &model, "--out", "x"], 2, "no adapter_config.json in it"),
        (
            &["out/adapter", "--to", "vllm", "--model", &model, "--replay", "http://localhost:1/v1", "--out", "x"],
            1,
            "which --pairs can name",
        ),
        (&["out", "--to", "trl", "--base", "b", "--out", "x"], 2, "are of an adapter for a server"),
        (&["out", "--to", "vllm", "--model", "none", "--out", "x"], 2, "none: "),
    ];
    for (arguments, code, text) in cases {
        let ran = obvert(folder.path(), &[&["export"], arguments].concat());
        assert!(ran.code == code && ran.err.contains(text), "{text}: {} {}", ran.code, ran.err);
    }
    assert!(!folder.path().join("x").exists());
}
