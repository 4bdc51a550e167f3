//! Files that include others, and secrets.

use std::io;
use std::path::Path;

use super::{GOOD, TestCatalog};
use crate::pipeline::{Document, Plan, Report, parse_with};

/// Parses `/pipelines/p.toml` beside other files.
fn parsed(text: &str, others: &[(&str, &str)]) -> Result<Document, Report> {
    let read = |path: &Path| {
        let found = others.iter().find(|(other, _)| Path::new("/pipelines").join(other) == path);
        found.map(|(_, text)| (*text).to_owned()).ok_or_else(|| io::Error::other("there is none"))
    };
    parse_with(Path::new("/pipelines/p.toml"), text, &[], &read)
}

fn check(text: &str, others: &[(&str, &str)]) -> Result<Plan, Report> {
    parsed(text, others)?.resolve(&TestCatalog::default())
}

#[test]
fn what_both_say_the_file_that_includes_says() {
    let own = "include = [\"first.toml\", \"sub/second.toml\"]\nname = \"own\"\nplugins = [\"c.so\"]\n[run]\nworkers = 5\n\
        [stage.sessions]\nturns = 7\n";
    let second = "plugins = [\"b.so\"]\n[run]\nworkers = 4\nseed = 9\n[stage.profiles]\npath = \"rows.jsonl\"\n";
    let others = [("first.toml", GOOD), ("sub/second.toml", second)];
    let plugins = parsed(own, &others).unwrap().plugins();
    let plugins: Vec<_> = plugins.iter().map(|plugin| plugin.path.to_str().unwrap()).collect();
    assert_eq!(plugins, ["/pipelines/lib/extra.so", "/pipelines/sub/b.so", "/pipelines/c.so"]);
    let plan = check(own, &others).map_err(|e| e.to_string()).unwrap();
    assert_eq!((plan.name.as_str(), plan.run.workers, plan.run.seed), ("own", 5, 9));
    let stage = |name: &str| plan.stages.iter().find(|stage| stage.name == name).unwrap();
    assert_eq!(stage("sessions").settings["turns"], 7);
    // Paths start from the folder of the file that says them.
    assert_eq!(stage("profiles").settings["path"], "/pipelines/sub/rows.jsonl");
    assert_eq!(stage("profiles").location.file, Path::new("/pipelines/first.toml"));
}

#[test]
fn what_is_wrong_is_told_with_the_file_that_says_it() {
    let wrong = |own: &str, others: &[(&str, &str)]| check(own, others).unwrap_err().to_string();
    let typo = GOOD.replace("turns", "trns");
    let told = wrong("include = \"base.toml\"\n", &[("base.toml", &typo)]);
    assert!(told.contains("/pipelines/base.toml:") && told.contains("did you mean `turns`?"), "{told}");
    let told = wrong("name = \"p\"\ninclude = [\"none.toml\", 3]\n", &[]);
    assert!(told.contains("`none.toml` cannot be read: there is none") && told.contains("p.toml:2:12"), "{told}");
    assert!(told.contains("`include` names files, as strings"), "{told}");
    let told = wrong("include = \"a.toml\"", &[("a.toml", "include = \"p.toml\""), ("p.toml", "")]);
    assert!(told.contains("`p.toml` includes itself") && told.contains("a.toml:1:11"), "{told}");
    let told = wrong("include = \"x/../a.toml\"", &[("a.toml", "include = \"./y/../a.toml\"")]);
    assert!(told.contains("`./y/../a.toml` includes itself"), "{told}");
    let told = wrong("include = \"a.toml\"", &[("a.toml", "x = ")]);
    assert!(told.contains("/pipelines/a.toml:1:"), "{told}");
}

#[test]
fn secrets_stand_in_the_environment_and_nothing_else_does() {
    let with = |key: &str, value: &str| {
        GOOD.replacen("kind = \"local\"", &format!("kind = \"local\"\n{key} = \"{value}\""), 1)
    };
    assert!(GOOD.contains("kind = \"local\""));
    let plan = check(&with("key", "${env:PATH}"), &[]).map_err(|e| e.to_string()).unwrap();
    // What is in the plan is not the secret.
    assert!(plan.models.iter().any(|model| model.settings["key"] == "${env:PATH}"));
    for (value, said) in [
        ("sk-123", "`key` is a secret: it does not belong into a file"),
        ("${env:OBVERT_NO_SUCH}", "the environment has no `OBVERT_NO_SUCH`"),
    ] {
        let told = check(&with("key", value), &[]).unwrap_err().to_string();
        assert!(told.contains(said) && !told.contains("sk-123"), "{told}");
    }
    let set = ["model.policy.key=sk-123".to_owned()];
    let told = parse_with(Path::new("p.toml"), &with("key", "${env:PATH}"), &set, &|_| Ok(String::new()));
    let told = told.and_then(|document| document.resolve(&TestCatalog::default())).unwrap_err().to_string();
    assert!(told.contains("--set model.policy.key=***") && !told.contains("sk-123"), "{told}");
    let path = GOOD.replacen("path = \"", "path = \"${env:HOME}/", 1);
    let told = check(&path, &[]).unwrap_err().to_string();
    assert!(told.contains("`path` takes no variable"), "{told}");
}
