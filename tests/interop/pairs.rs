//! The pairs that a run leaves are read by `datasets` and trained on by TRL, as they are.

use crate::common::{done, folder, repository, rows};
use crate::python::python;

#[test]
fn trl_trains_on_exported_pairs() {
    let Some(python) = python("trl_trains_on_exported_pairs") else { return };
    let scratch = folder(&[]);
    let pipeline = repository("pipelines/quickstart.toml").display().to_string();
    let small = ["profiles.limit=10", "heldout.limit=1", "train.updates=1", "train.batch_size=16", "train.shuffle=32"];
    let set: Vec<&str> = small.iter().flat_map(|value| ["--set", value]).collect();
    done(scratch.path(), &[&["run", &pipeline, "--out", "out"], &set[..]].concat());
    let pairs = scratch.path().join("out/pairs");
    let expected = rows(&pairs.join("pairs.jsonl"));
    let model = repository("pipelines/quickstart/model").display().to_string();
    let found = python.json("pairs.py", &[pairs.to_str().unwrap(), &model]);
    for source in ["jsonl", "parquet", "folder"] {
        let found = &found[source];
        assert_eq!((found["rows"].as_u64(), &found["first"]), (Some(expected.len() as u64), &expected[0]), "{source}");
        let [loss, norm] = ["loss", "grad_norm"].map(|name| found[name].as_f64().unwrap());
        // The policy is the reference still: ln 2.
        assert!((loss - 2f64.ln()).abs() < 1e-3 && norm > 0.0, "{source}: {loss} {norm}");
        eprintln!("{source}: {} rows, loss {loss:.4}, norm of the gradient {norm:.2}", expected.len());
    }
}
