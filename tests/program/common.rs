//! Runs the program in a folder of its own.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A file or folder of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The data and fixtures that are not part of the repository; a test that needs them says that it skips.
pub fn shared(path: &str) -> Option<PathBuf> {
    let default = repository("../shared");
    let found = std::env::var_os("OBVERT_SHARED").map_or(default, PathBuf::from).join(path);
    if found.exists() {
        return Some(found);
    }
    eprintln!("SKIPPED: {} is not there", found.display());
    None
}

/// The program with arguments, run from the folder.
pub fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_obvert"));
    command.current_dir(folder).args(arguments).env_remove("OBVERT_LOG");
    command
}

/// What a run of the program printed and how it ended.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// Runs the program to its end.
pub fn obvert(folder: &Path, arguments: &[&str]) -> Ran {
    Ran::from(program(folder, arguments).output().unwrap())
}

/// Runs the program, which must succeed.
pub fn done(folder: &Path, arguments: &[&str]) -> Ran {
    let ran = obvert(folder, arguments);
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    ran
}

/// A file `hosts` with so many addresses that nobody listens on.
pub fn hosts(folder: &Path, count: usize) {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let lines: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect();
    fs::write(folder.join("hosts"), lines.join("\n")).unwrap();
}

/// Starts one of the processes that `hosts` lists.
pub fn one_of(folder: &Path, index: usize, arguments: &[&str]) -> Child {
    let index = index.to_string();
    let mut command = program(folder, &[arguments, &["--hosts", "hosts", "--process", &index]].concat());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

pub fn ended(child: Child) -> Ran {
    child.wait_with_output().unwrap().into()
}

/// A folder with files in it.
pub fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

/// The rows of a file of JSON lines.
pub fn rows(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A row of the account's table: in, done, rejected, records, calls, memo.
pub fn counts(ran: &Ran, stage: &str) -> [i64; 6] {
    let row = ran.out.lines().find(|line| line.split_whitespace().next() == Some(stage));
    let row = row.unwrap_or_else(|| panic!("no stage {stage} in {}", ran.out));
    let numbers: Vec<i64> = row.split_whitespace().skip(1).map(|n| n.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

/// All stages account for all that they took in.
pub fn assert_accounted(ran: &Ran) {
    let table = ran.out.lines().skip_while(|line| !line.starts_with("stage ")).skip(1);
    let mut stages = 0;
    for line in table.take_while(|line| !line.trim().is_empty()) {
        let numbers: Vec<i64> = line.split_whitespace().skip(1).map(|n| n.parse().unwrap()).collect();
        assert_eq!(numbers[0], numbers[1] + numbers[2], "in = done + rejected: {line}");
        stages += 1;
    }
    assert!(stages > 0, "no table in {}", ran.out);
}
