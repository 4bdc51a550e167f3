//! What a new user of plugins does, from nothing to a stage that is changed while it is in use, with what the program says alone.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::common::{Ran, counts, done, obvert, program, repository, rows};
use crate::watch::{interrupt, wait_for};

/// cargo in a folder, which must succeed; what it builds for one test serves the others.
fn cargo(folder: &Path, arguments: &[&str]) {
    let ran =
        Command::new(env!("CARGO")).args(arguments).current_dir(folder).env("CARGO_TARGET_DIR", target()).output();
    let ran = ran.unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

fn target() -> std::path::PathBuf {
    repository("target/tmp/plugins")
}

/// The program, with the same folder for what it builds.
fn run(folder: &Path, arguments: &[&str]) -> Ran {
    run_with(folder, arguments, &[])
}

fn run_with(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    // Not optimised, unlike the program and its own plugins: that is no matter of the border.
    let mut command = program(folder, arguments);
    command.env("CARGO_TARGET_DIR", target()).env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0");
    command.envs(environment.iter().copied());
    command.stdout(Stdio::piped()).output().unwrap().into()
}

fn texts(path: &Path) -> Vec<Value> {
    let mut rows: Vec<Value> = rows(path).iter().map(|row| row["id"].clone()).collect();
    rows.sort_by_key(Value::to_string);
    rows
}

#[test]
fn a_new_plugin_is_tested_used_and_changed() {
    let folder = tempfile::tempdir().unwrap();
    done(folder.path(), &["new", "plugin", "max-length"]);
    let own = folder.path().join("max-length");
    cargo(&own, &["test"]);
    let ran = run(&own, &["run", "max-length.toml"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(texts(&own.join("runs/max-length/out.jsonl")), [1, 3]);
    let tested = run(&own, &["test", "max-length.toml"]);
    assert!(tested.code == 0 && tested.out.contains("ok     long texts are left out"), "{}{}", tested.out, tested.err);
    let schema: Value = serde_json::from_str(&run(&own, &["schema", "max-length.toml"]).out).unwrap();
    assert_eq!(schema["definitions"]["stage.max-length"]["properties"]["limit"]["description"], "Characters, at most.");
    let checked = run(&own, &["plugin", "check", "."]);
    assert!(
        checked.out.contains("max-length 0.1.0 (map): Json to Json") && checked.out.contains("example 2: holds"),
        "{}",
        checked.out
    );
    let listed = run(&own, &["plugin", "list", "max-length.toml"]).out;
    assert!(listed.lines().any(|line| line.starts_with("max-length") && line.contains("-> Json")), "{listed}");

    // Another rule: what it made before is withdrawn where it holds no more.
    let source = fs::read_to_string(own.join("src/lib.rs")).unwrap();
    fs::write(own.join("src/lib.rs"), source.replace("<= self.limit", "> self.limit")).unwrap();
    let ran = run(&own, &["run", "max-length.toml"]);
    assert_eq!(texts(&own.join("runs/max-length/out.jsonl")), [2]);
    assert_eq!(counts(&ran, "own")[..4], [3, 3, 0, 1]);
    let locked = run(&own, &["lock", "max-length.toml"]);
    assert_eq!(locked.code, 0, "{}", locked.err);
    assert_eq!(run(&own, &["run", "max-length.toml", "--locked"]).code, 0);
    let wrong = run(&own, &["plugin", "check", "."]);
    assert!(wrong.code == 1 && wrong.out.contains("example 1: it makes []"), "{}", wrong.out);

    fs::write(own.join("src/lib.rs"), source.replace("<= self.limit", "<= self.limt")).unwrap();
    let ran = run(&own, &["check", "max-length.toml"]);
    assert_eq!(ran.code, 2, "{}", ran.out);
    assert!(ran.err.contains("is not what it is pinned to") && ran.err.contains("max-length.toml:6:12"), "{}", ran.err);
    let unpinned = fs::read_to_string(own.join("max-length.toml")).unwrap();
    let begin = unpinned.find("plugins = [").unwrap();
    let end = begin + unpinned[begin..].find('\n').unwrap();
    fs::write(own.join("max-length.toml"), unpinned.replace(&unpinned[begin..end], "plugins = [\".\"]")).unwrap();
    let ran = run(&own, &["check", "max-length.toml"]);
    assert_eq!(ran.code, 2, "{}", ran.out);
    assert!(ran.err.contains("no field `limt`") && ran.err.contains("max-length.toml:6:12"), "{}", ran.err);
}

/// Put between two stages of the quickstart, as a user would who has nothing but `obvert new` and the pipeline.
fn stands_in_the_quickstart(name: &str, environment: &[(&str, &str)]) {
    let folder = tempfile::tempdir().unwrap();
    done(folder.path(), &["new", "plugin", name, "--record", "Pair"]);
    let pipeline = fs::read_to_string(repository("pipelines/quickstart.toml")).unwrap();
    let quickstart = repository("pipelines/quickstart").display().to_string();
    let pipeline = pipeline.replace("path = \"quickstart/", &format!("path = \"{quickstart}/"));
    let pipeline = pipeline
        .replace("[run]", &format!("plugins = [\"{name}\"]\n\n[run]"))
        .replace("from = \"verify\"", "from = \"short\"");
    let stage = format!("[stage.short]\ntype = \"{name}\"\nfrom = \"verify\"\nlimit = 60\n");
    fs::write(folder.path().join("quickstart.toml"), format!("{pipeline}\n{stage}")).unwrap();
    let quick = ["--set", "profiles.limit=4", "--set", "train.updates=2", "--set", "heldout.limit=1", "--out", "out"];
    let ran = run_with(folder.path(), &[&["run", "quickstart.toml"], &quick[..]].concat(), environment);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let [all, _, _, kept, ..] = counts(&ran, "short");
    assert!(0 < kept && kept < all, "{}", ran.out);
    let pairs = rows(&folder.path().join("out/pairs/pairs.jsonl"));
    assert_eq!(pairs.len() as i64, kept);
    assert!(pairs.iter().all(|pair| pair["chosen"][0]["content"].as_str().unwrap().chars().count() <= 60));
}

#[test]
fn a_plugin_of_pairs_stands_in_the_quickstart() {
    stands_in_the_quickstart("short-pairs", &[]);
}

/// Beside the four plugins, which the tests' compiler has built with optimisations.
#[test]
fn a_plugin_of_another_compiler_stands_there_too() {
    match another_compiler() {
        Some(compiler) => stands_in_the_quickstart("other-pairs", &[("RUSTC", &compiler)]),
        None => eprintln!("SKIPPED: no compiler of another version"),
    }
}

/// A compiler of another version than the tests', if rustup has one.
fn another_compiler() -> Option<String> {
    let said = |command: &str, arguments: &[&str]| {
        let ran = Command::new(command).args(arguments).output().ok().filter(|ran| ran.status.success());
        ran.map(|ran| String::from_utf8_lossy(&ran.stdout).trim().to_string())
    };
    let own = said("rustc", &["--version"])?;
    let toolchains = said("rustup", &["toolchain", "list"])?;
    toolchains.lines().filter_map(|line| line.split_whitespace().next()).find_map(|toolchain| {
        let compiler = said("rustup", &["which", "--toolchain", toolchain, "rustc"])?;
        (said(&compiler, &["--version"])? != own).then_some(compiler)
    })
}

#[test]
fn the_template_knows_every_record() {
    let folder = tempfile::tempdir().unwrap();
    for record in ["Profile", "Turn", "Response", "Judged", "Pair"] {
        // Names that stand for other things in Rust are names like others.
        let name = match record {
            "Turn" => "output".into(),
            "Pair" => "vec".into(),
            _ => format!("of-{}", record.to_lowercase()),
        };
        done(folder.path(), &["new", "plugin", &name, "--record", record]);
        let own = folder.path().join(&name);
        let ran = run(&own, &["run", &format!("{name}.toml")]);
        assert_eq!(ran.code, 0, "{record}: {}", ran.err);
        assert!(counts(&ran, "own")[0] > 0, "{record}: {}", ran.out);
        let checked = run(&own, &["plugin", "check", "."]);
        assert!(
            checked.code == 0 && checked.out.contains("example 2: holds"),
            "{record}: {}{}",
            checked.out,
            checked.err
        );
    }
}

#[test]
fn names_that_cannot_be_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["Max", "max_length", "-a", "a-", "a--b", "../a"] {
        let ran = obvert(folder.path(), &["new", "plugin", "--", name]);
        assert!(ran.code == 2 && ran.err.contains("cannot be a plugin's name"), "{name}: {}", ran.err);
    }
    assert!(obvert(folder.path(), &["new", "plugin", "judge"]).err.contains("a stage type of the program"));
    done(folder.path(), &["new", "plugin", "a"]);
    assert!(obvert(folder.path(), &["new", "plugin", "a"]).err.contains("is there already"));
}

/// While a run follows its inputs: a stage is edited, then broken, then mended, and the sink is each time what the code says.
#[test]
fn an_edited_plugin_is_put_to_work_while_the_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    done(folder.path(), &["new", "plugin", "watched"]);
    let own = folder.path().join("watched");
    let source = fs::read_to_string(own.join("src/lib.rs")).unwrap();
    let mut command = program(&own, &["run", "watched.toml", "--out", "out", "--watch"]);
    let said = own.join("said");
    command.env("CARGO_TARGET_DIR", target()).env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0");
    command.stdout(Stdio::piped()).stderr(fs::File::create(&said).unwrap());
    let mut child = command.spawn().unwrap();
    let out = own.join("out/out.jsonl");
    let is = |ids: &[i64]| out.exists() && texts(&out) == ids;
    wait_for(&mut child, || is(&[1, 3]));
    let edit = |with: &str| fs::write(own.join("src/lib.rs"), source.replace("<= self.limit", with)).unwrap();
    edit("> self.limit");
    wait_for(&mut child, || is(&[2]));
    edit("> self.limt");
    // What does not build changes nothing: an edited input goes through the stage that was there.
    wait_for(&mut child, || fs::read_to_string(&said).unwrap().contains("goes on with what there was before"));
    let more = fs::read_to_string(own.join("rows.jsonl")).unwrap()
        + "{\"id\": 4, \"text\": \"Another one that is long, too long for the limit.\"}\n";
    fs::write(own.join("rows.jsonl"), more).unwrap();
    wait_for(&mut child, || is(&[2, 4]));
    edit("< self.limit");
    wait_for(&mut child, || is(&[1, 3]));
    // So is an edited pipeline.
    let pipeline = fs::read_to_string(own.join("watched.toml")).unwrap();
    fs::write(own.join("watched.toml"), pipeline.replace("limit = 30", "limit = 13")).unwrap();
    wait_for(&mut child, || is(&[1]));
    // It has begun anew for each of these, and for nothing else: not for what the run itself wrote, nor for an edited input.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let ran = interrupt(child);
    let said = fs::read_to_string(&said).unwrap();
    assert!(ran.code == 0 && said.contains("no field `limt`"), "{said}");
    assert_eq!(said.matches("Compiling watched").count() + said.matches("Checking watched").count(), 4, "{said}");
    assert_eq!(counts(&ran, "own")[..4], [4, 4, 0, 1]);
}
