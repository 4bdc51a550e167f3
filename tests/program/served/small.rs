//! A real server with a model that can do little: what it cannot do is set aside and counted, and nothing stops.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::{assert_accounted, counts, folder, obvert, repository};

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

const ROLES: [&str; 20] = [
    "baker",
    "librarian",
    "pirate",
    "gardener",
    "astronomer",
    "tailor",
    "cook",
    "sailor",
    "teacher",
    "nurse",
    "farmer",
    "poet",
    "plumber",
    "pilot",
    "miner",
    "barber",
    "clerk",
    "painter",
    "guide",
    "potter",
];

#[test]
fn a_small_model_of_a_real_server_stops_nothing() {
    let Some((_server, url)) = started() else { return };
    // Held to JSON by a grammar, that server writes a few tokens a second.
    let table = format!(
        "kind = \"openai\"\nbase_url = \"{url}\"\nmodel = \"small\"\ntimeout_s = 120\nmax_in_flight = 2\nstructured = \"none\"\nextra = {{ max_tokens = 48 }}\n"
    );
    let pipeline = super::PIPELINE.replace("kind = \"openai\"\nbase_url = \"URL\"\nmodel = \"good\"\nkey = \"${env:OBVERT_TEST_KEY}\"\ntimeout_s = 1\nLIMITS", &table);
    // The user is played too, and the response is short, so that it takes minutes on two cores.
    let played = "type = \"persona-play\"\nfrom = \"session\"\nmodel = \"server\"\njudge = \"server\"";
    let pipeline = pipeline.replace("type = \"persona-play\"\nfrom = \"session\"", played);
    let pipeline = pipeline.replace("type = \"respond\"\n", "type = \"respond\"\nsamples = 2\nmax_tokens = 48\n");
    let profile = |(number, role): (usize, &&str)| {
        let always = json!({ "id": "c1", "text": format!("The answer mentions the word {role}.") });
        let mut constraints = vec![always, json!({ "id": "c2", "text": "The answer is one sentence." })];
        constraints.extend((number % 4 == 0).then(
            || json!({ "id": "c3", "when": "the user asks for a price", "text": "The answer names an amount." }),
        ));
        json!({ "id": role, "name": role, "description": format!("You are a {role}."), "constraints": constraints })
            .to_string()
            + "\n"
    };
    let profiles: String = ROLES.iter().enumerate().map(profile).collect();
    let personas = json!({ "id": "u1", "text": "A curious visitor who likes short questions." }).to_string();
    let folder = folder(&[("served.toml", &pipeline), ("profiles.jsonl", &profiles), ("personas.jsonl", &personas)]);
    let ran = obvert(folder.path(), &["run", "served.toml", "--out", "out"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_accounted(&ran);
    eprintln!("{}", ran.out);
    let [played, _, aside, ..] = counts(&ran, "play");
    assert!(played == 20 && counts(&ran, "respond")[3] == 2 * (20 - aside), "{}", ran.out);
    assert_eq!(counts(&ran, "judge")[0], counts(&ran, "respond")[3]);
}
