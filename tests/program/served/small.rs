//! A real server with a model that can do little: what it cannot do is set aside and counted, and nothing stops.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::{assert_accounted, counts, folder, obvert, repository, rows};

/// A server that ends with its test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// llama.cpp's server with SmolLM2-135M, if it is installed and the model is there; else the test says that it skips.
fn started() -> Option<(Server, String)> {
    let python = std::env::var_os("OBVERT_LLAMA_PYTHON").unwrap_or_else(|| "python3".into());
    let model = std::env::var_os("OBVERT_SMOLLM2").map(PathBuf::from);
    let model = model.unwrap_or_else(|| repository("pipelines/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"));
    let imports = Command::new(&python).args(["-c", "import llama_cpp.server"]).stderr(Stdio::null()).status();
    if !model.exists() || !imports.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: no llama-cpp-python[server] (OBVERT_LLAMA_PYTHON), or no SmolLM2 (OBVERT_SMOLLM2)");
        return None;
    }
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let port = address.port().to_string();
    let mut command = Command::new(python);
    command
        .args(["-m", "llama_cpp.server", "--host", "127.0.0.1", "--port", &port, "--n_ctx", "4096", "--model"])
        .arg(&model);
    let server =
        Server(command.args(["--model_alias", "small"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let begin = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(begin.elapsed() < Duration::from_secs(120), "the server does not start");
        std::thread::sleep(Duration::from_millis(100));
    }
    Some((server, format!("http://{address}/v1")))
}

/// The paper's pipeline over its twenty roles, every other one with constraints already: the model cannot write them.
#[test]
fn a_small_model_of_a_real_server_stops_nothing() {
    let Some((_server, url)) = started() else { return };
    let roles: String = (0..).zip(rows(&repository("pipelines/paper/roles.jsonl"))).map(role).collect();
    let lines = [
        json!({ "id": "u1", "text": "A curious visitor who likes short questions." }),
        json!({ "id": "u2", "queries": ["What can you do for me?", "What does it cost?"] }),
    ];
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let folder = folder(&[("roles.jsonl", &roles), ("personas.jsonl", &lines)]);
    let pipeline = repository("pipelines/paper.toml");
    let mut settings: Vec<String> =
        ["strong", "judge", "policy"].iter().flat_map(|model| of_server(model, &url)).collect();
    settings.extend(SHORT.map(str::to_owned));
    settings.extend(["roles", "lines"].map(|stage| {
        let file = folder.path().join(if stage == "roles" { "roles.jsonl" } else { "personas.jsonl" });
        format!("stage.{stage}.path={}", file.display())
    }));
    let mut arguments = vec!["run", pipeline.to_str().unwrap(), "--out", "out"];
    settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
    let ran = obvert(folder.path(), &arguments);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_accounted(&ran);
    eprintln!("{}", ran.out);
    let [roles, _, aside, ..] = counts(&ran, "profiles");
    assert!(roles == 20 && aside <= 10, "{}", ran.out);
    assert!(counts(&ran, "play")[0] >= 10 && counts(&ran, "respond")[3] > 0, "{}", ran.out);
    let aside = rows(&folder.path().join("out/rejected.jsonl")).len() as i64;
    let stages = [
        "profiles",
        "personas",
        "play",
        "lead",
        "lead-judge",
        "lead-critique",
        "next",
        "respond",
        "judge",
        "critique",
        "reverse",
        "pair",
        "verify",
    ];
    assert_eq!(aside, stages.iter().map(|stage| counts(&ran, stage)[2]).sum::<i64>(), "{}", ran.out);
}

/// Held to JSON by a grammar, that server writes a few tokens a second; short replies, so that it takes minutes on two cores.
fn of_server(model: &str, url: &str) -> Vec<String> {
    let settings = [
        format!("base_url={url}"),
        "model=small".into(),
        "timeout_s=120".into(),
        "max_in_flight=2".into(),
        "structured=none".into(),
        "extra.max_tokens=48".into(),
    ];
    settings.into_iter().map(|setting| format!("model.{model}.{setting}")).collect()
}

/// Fewer answers, votes, revisions and turns.
const SHORT: [&str; 7] = [
    "stage.lead.samples=1",
    "stage.respond.samples=2",
    "stage.judge.votes=1",
    "stage.critique.judge.votes=1",
    "stage.critique.revisions=1",
    "stage.lead-critique.revisions=1",
    "stage.next.turns=2",
];

fn role((number, mut role): (usize, Value)) -> String {
    if number % 2 == 0 {
        role["constraints"] = json!([
            { "id": "c1", "text": "Write at most 20 words." },
            { "id": "c2", "text": "Address the user as a friend." },
        ]);
    }
    if number % 4 == 0 {
        let priced = json!({ "id": "c3", "when": "the user asks for a price", "text": "Name an amount." });
        role["constraints"].as_array_mut().unwrap().push(priced);
    }
    format!("{role}\n")
}
