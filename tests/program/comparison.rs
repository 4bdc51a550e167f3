//! The paper's table in small: methods that learn from the same responses, with rates that are chosen, over two seeds.

use std::fs;

use serde_json::Value;

use crate::common::{assert_accounted, counts, done, folder, obvert, repository};

/// The table with two methods, two rates, a few profiles and two updates.
const SMALL: [&str; 10] = [
    "profiles.share=0.03",
    "kept.limit=3",
    "heldout.limit=4",
    "respond.samples=3",
    "dpo.updates=2",
    "rpo.updates=2",
    "dpo.grid.lr=[3e-3, 1e-2]",
    "rpo.grid.lr=[3e-3, 1e-2]",
    "dpo.batch_size=8",
    "rpo.batch_size=8",
];

#[test]
fn methods_are_compared_over_seeds_with_rates_that_were_chosen() {
    let folder = folder(&[]);
    let include = repository("pipelines/paper-table/base.toml");
    let choice = repository("pipelines/paper-table/choice.toml");
    let train = |name: &str, from: &str| {
        format!(
            "[stage.{name}]\ntype = \"train\"\nfrom = \"{from}\"\nmodel = \"policy\"\nloss = \"{name}\"\nupdates = 9\n\
             grid.lr = [1e-3]\n"
        )
    };
    let text = format!(
        "include = [{include:?}, {choice:?}]\nname = \"small\"\n[stage.validation]\nwith = [\"dpo\", \"rpo\"]\n{}{}",
        train("dpo", "by-score"),
        train("rpo", "pair"),
    );
    fs::write(folder.path().join("small.toml"), text).unwrap();
    let set: Vec<&str> = SMALL.iter().flat_map(|value| ["--set", value]).collect();
    let run =
        |seeds: &str| done(folder.path(), &[&["run", "small.toml", "--out", "o", "--seeds", seeds], &set[..]].concat());
    let first = run("1");
    assert_accounted(&first);
    let ran = run("2");
    // What was paid for with the first seed is not paid for again.
    assert_eq!(counts(&ran, "respond")[4], 0, "{}", ran.out);
    let table: Value = serde_json::from_slice(&fs::read(folder.path().join("o/table.json")).unwrap()).unwrap();
    let table = &table["scores"];
    let methods: Vec<&str> = table["lines"].as_array().unwrap().iter().map(|l| l["method"].as_str().unwrap()).collect();
    assert_eq!((table["runs"].as_u64(), methods), (Some(2), vec!["base", "dpo", "rpo"]));
    let models = table["lines"][2]["models"].as_array().unwrap();
    assert!(models.len() == 2 && models[0] != models[1], "every seed trains by itself: {models:?}");
    assert!(models.iter().all(|model| model.as_str().unwrap().starts_with("rpo-lr-")), "{models:?}");
    assert_eq!(table["differences"].as_array().unwrap().len(), 2);
    // Seeds draw other profiles.
    let drawn =
        |seed: u32| fs::read_to_string(folder.path().join(format!("o/seed-{seed}/scores/scores.json"))).unwrap();
    assert_ne!(drawn(1), drawn(2));
    let text = fs::read_to_string(folder.path().join("o/table.md")).unwrap();
    assert!(text.contains("| rpo − |") && text.contains(" ± "), "{text}");
    let page = fs::read_to_string(folder.path().join("o/report.html")).unwrap();
    assert!(page.contains(" ± ") && page.contains("The tables are of 2 runs"), "the report shows the table");
}

#[test]
fn the_comparisons_are_sound() {
    let folder = folder(&[]);
    for name in
        ["paper-table", "paper-ablations", "paper-positive", "paper-online", "paper-responses", "paper-table-served"]
    {
        let file = repository(&format!("pipelines/{name}.toml"));
        done(folder.path(), &["check", file.to_str().unwrap()]);
    }
    let plain = repository("pipelines/sysbench-pairs.toml");
    let ran = obvert(folder.path(), &["run", plain.to_str().unwrap(), "--seeds", "2"]);
    assert!(ran.code != 0 && ran.err.contains("the pipeline has none"), "{}", ran.err);
}
