//! `train` by several processes: the same adapter, and what happens when one is lost.

use std::fs;
use std::path::Path;
use std::process::Child;

use safetensors::SafeTensors;
use tempfile::TempDir;

use crate::common::{Ran, done, ended, folder, hosts, obvert, one_of, repository, rows};
use crate::slow::wait_for;

/// A row for every number, of unlike lengths.
fn pairs(count: usize) -> String {
    let row = |n: usize| {
        let (long, short) = ("bread and tea and ".repeat(n % 4 + 1), "tea ".repeat(n % 3 + 1));
        format!(
            r#"{{"prompt": [{{"role": "user", "content": "What of {n}?"}}], "chosen": [{{"role": "assistant", "content": "{short}{n}"}}], "rejected": [{{"role": "assistant", "content": "{long}{n}"}}], "g": {}}}"#,
            n % 3 + 1
        )
    };
    (0..count).map(|n| row(n) + "\n").collect()
}

struct Run {
    folder: TempDir,
    model: String,
}

impl Run {
    fn new() -> Self {
        let folder = folder(&[("pairs.jsonl", &pairs(11)), ("empty", "\n")]);
        Run { folder, model: repository("pipelines/quickstart/model").display().to_string() }
    }

    fn arguments<'a>(&'a self, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let run = ["train", "--model", &self.model, "--pairs", "pairs.jsonl", "--steps", "40"];
        let settings = ["--lr", "5e-3", "--validation", "0.2", "--validate-every", "4", "--checkpoint-every", "2"];
        [&run[..], &settings, &["--out", out], more].concat()
    }

    fn done(&self, out: &str, more: &[&str]) -> Ran {
        done(self.folder.path(), &self.arguments(out, more))
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn losses(&self, out: &str) -> Vec<f64> {
        let metrics = rows(&self.path(out).join("metrics.jsonl"));
        metrics.iter().filter_map(|row| row.get("loss").or(row.get("eval_loss"))?.as_f64()).collect()
    }

    /// Starts one of two processes.
    fn start(&self, out: &str, index: usize, more: &[&str]) -> Child {
        one_of(self.folder.path(), index, &self.arguments(out, more))
    }
}

/// The distance of two adapters, relative.
fn apart(found: &Path, expected: &Path) -> f64 {
    let [found, expected] = [found, expected].map(|path| fs::read(path.join("adapter_model.safetensors")).unwrap());
    let [found, expected] = [&found, &expected].map(|bytes| SafeTensors::deserialize(bytes).unwrap());
    let (mut off, mut size) = (0.0, 0.0);
    for (name, tensor) in expected.iter() {
        let values =
            |bytes: &[u8]| bytes.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect::<Vec<_>>();
        for (a, b) in values(found.tensor(name).unwrap().data()).iter().zip(values(tensor.data())) {
            (off, size) = (off + (a - b).powi(2), size + b * b);
        }
    }
    f64::sqrt(off / size)
}

#[test]
fn processes_make_the_adapter_of_one() {
    let run = Run::new();
    // The last batch of an epoch has one pair.
    run.done("one", &["--batch-size", "4"]);
    run.done("three", &["--batch-size", "4", "--processes", "3"]);
    let (one, three) = (run.losses("one"), run.losses("three"));
    assert!(one.len() == 50 && one.len() == three.len(), "{one:?} {three:?}");
    assert!(one.iter().zip(&three).all(|(a, b)| (a - b).abs() < 1e-5), "{one:?} {three:?}");
    let apart = apart(&run.path("three"), &run.path("one"));
    assert!(apart < 1e-5, "adapters are {apart:.1e} apart");
    // Known pairs are known to all: the run is over, and is not computed again.
    assert!(run.done("three", &["--batch-size", "4", "--processes", "2"]).out.contains("going on after 40 of 40"));
}

#[test]
fn a_lost_process_ends_the_other_and_the_run_goes_on() {
    let run = Run::new();
    run.done("expected", &["--processes", "2"]);
    hosts(run.folder.path(), 2);
    let (mut first, mut second) = (run.start("out", 0, &[]), run.start("out", 1, &[]));
    wait_for(&mut first, &run.path("out/metrics.jsonl"), 3);
    second.kill().unwrap();
    second.wait().unwrap();
    let first = ended(first);
    assert!(
        first.code == 1 && first.err.contains("process 1 (127.0.0.1:") && first.err.contains("is lost"),
        "{}",
        first.err
    );
    assert!(!first.err.contains("panicked"), "{}", first.err);
    assert!(run.losses("out").len() < 50, "it was over before the process was lost");
    let again = run.done("out", &["--processes", "2"]);
    assert!(again.out.contains("going on after "), "{}", again.out);
    let adapter = |out: &str| fs::read(run.path(out).join("adapter_model.safetensors")).unwrap();
    assert!(adapter("out") == adapter("expected"), "the loss of a process changed the adapter");
    assert_eq!(run.losses("out"), run.losses("expected"));
}

#[test]
fn processes_that_cannot_work_together_say_why() {
    let run = Run::new();
    hosts(run.folder.path(), 2);
    let (first, second) = (run.start("out", 0, &[]), run.start("out", 1, &["--gamma", "0.1"]));
    for (ran, other) in [(ended(first), "process 1 ("), (ended(second), "process 0 (")] {
        assert!(ran.code == 1 && ran.err.contains(other) && ran.err.contains("does other work"), "{}", ran.err);
    }
    for (more, expected) in [
        (&["--hosts", "hosts", "--process", "2"][..], "hosts: there are 2, so none has number 2"),
        (&["--hosts", "nowhere", "--process", "0"], "nowhere: No such file"),
        (&["--hosts", "empty", "--process", "0"], "hosts: there are 0"),
    ] {
        let ran = obvert(run.folder.path(), &run.arguments("out", more));
        assert!(ran.code == 1 && ran.err.contains(expected), "{}", ran.err);
    }
    for (more, expected) in [
        (&["--processes", "2", "--process", "1"][..], "cannot be used with"),
        (&["--processes", "0"], "0 processes do no work"),
    ] {
        let ran = obvert(run.folder.path(), &run.arguments("out", more));
        assert!(ran.code == 2 && ran.err.contains(expected), "{}", ran.err);
    }
}
