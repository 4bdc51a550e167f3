//! `new`: makes a plugin's crate, with a test, a pipeline that uses it and a README.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use obvert_stages::Findings;

use super::Refused;

/// What to make.
#[derive(clap::Subcommand)]
pub enum What {
    /// A stage of one's own, as a crate that builds at once.
    Plugin(Arguments),
}

/// Arguments of `new plugin`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Its name, which is also the stage's type: small letters, digits and `-`. The folder is made here.
    name: String,
    /// The record that the stage takes and makes.
    #[arg(long, value_enum, default_value_t)]
    record: Record,
    /// Where `obvert-api` is; by default where this program was built from, else the registry.
    #[arg(long)]
    api: Option<PathBuf>,
}

/// Records that the template knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "PascalCase")]
enum Record {
    /// A row of any JSON.
    #[default]
    Json,
    /// A role with its constraints.
    Profile,
    /// A question in a dialogue.
    Turn,
    /// An answer to it.
    Response,
    /// An answer with its verdicts.
    Judged,
    /// A preference pair.
    Pair,
}

/// How the template is filled for a record.
struct Filled {
    /// The name of its type.
    name: &'static str,
    /// Where its text is.
    text: &'static str,
    /// One of these, as JSON, but for its text.
    example: String,
    /// The stage of the template's pipeline that makes it.
    from: &'static str,
}

impl Record {
    fn filled(self) -> Filled {
        let profile = r#"{ "id": "p1", "description": TEXT }"#;
        let turn = |query: &str| {
            let session = format!(
                r#"{{ "dialogue": "d1", "profile": {}, "persona": {{ "id": "u1" }} }}"#,
                profile.replace("TEXT", "\"\"")
            );
            format!(r#"{{ "session": {session}, "query": {query}, "active": [] }}"#)
        };
        let response = format!(r#"{{ "turn": {}, "sample": 0, "text": TEXT, "model": "m" }}"#, turn("\"\""));
        let pair = r#"{ "id": "x", "dialogue": "d1", "turn": 0, "profile": "p1", "prompt": [], "chosen": TEXT, "rejected": "", "g": 2, "case": 1,
            "constraints": [], "chosen_sample": 0, "rejected_sample": 1, "chosen_model": "m", "rejected_model": "m" }"#;
        let (name, text, example, from) = match self {
            Record::Json => {
                ("Json", r#"record.0["text"].as_str().unwrap_or_default()"#, r#"{ "text": TEXT }"#.into(), "rows")
            }
            Record::Profile => ("Profile", "record.description", profile.into(), "profiles"),
            Record::Turn => ("Turn", "record.query", turn("TEXT"), "play"),
            Record::Response => ("Response", "record.text", response, "respond"),
            Record::Judged => {
                ("Judged", "record.response.text", format!(r#"{{ "response": {response}, "verdicts": [] }}"#), "judge")
            }
            Record::Pair => ("Pair", "record.chosen", pair.into(), "verify"),
        };
        Filled { name, text, example, from }
    }
}

/// The files of a plugin, with what stands in them for its name, its record and its dependency.
const TEMPLATE: [(&str, &str); 7] = [
    ("Cargo.toml", include_str!("new/template/Cargo.toml.txt")),
    // The versions that this program was built with: they are known to build together. What is not needed goes from it at once.
    ("Cargo.lock", include_str!("../../Cargo.lock")),
    ("src/lib.rs", include_str!("new/template/lib.rs.txt")),
    ("README.md", include_str!("new/template/README.md.txt")),
    (".gitignore", "/target\n/runs\n"),
    ("profiles.jsonl", include_str!("new/template/profiles.jsonl")),
    ("personas.jsonl", include_str!("new/template/personas.jsonl")),
];

/// Makes it.
pub fn new(What::Plugin(arguments): &What) -> anyhow::Result<()> {
    let name = arguments.name.as_str();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let sound = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(plain)
        && !name.ends_with('-')
        && !name.contains("--");
    ensure!(
        sound,
        Refused(format!(
            "error: `{name}` cannot be a plugin's name: small letters, digits and `-`, such as max-length"
        ))
    );
    let known = super::registry(&Findings::default())?.entry(name).is_some();
    ensure!(
        !known,
        Refused(format!("error: `{name}` is a stage type of the program: its plugin would stand in for that"))
    );
    let folder = Path::new(name);
    ensure!(!folder.exists(), Refused(format!("error: {name} is there already")));
    let filled = arguments.record.filled();
    let fill = |text: &str| fill(text, name, &filled, &dependency(arguments.api.as_deref()));
    let pipeline = format!("{name}.toml");
    let files = TEMPLATE.into_iter().map(|(file, text)| (file, fill(text)));
    let files = files.chain([(pipeline.as_str(), fill(&pipeline_of(filled.from)))]);
    let rows = (filled.from == "rows").then(|| ("rows.jsonl", include_str!("new/template/rows.jsonl").to_owned()));
    for (file, text) in files.chain(rows).filter(|(file, _)| is_used(file, filled.from)) {
        let path = folder.join(file);
        path.parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&path, text))
            .with_context(|| path.display().to_string())?;
    }
    println!("{name}/ is a plugin that keeps records with a short text. From its folder:\n");
    println!("    cargo test\n    obvert run {pipeline}\n    obvert preview {pipeline}\n\nREADME.md says the rest.");
    Ok(())
}

/// Whether the pipeline reads an input of that name.
fn is_used(file: &str, from: &str) -> bool {
    match file {
        "profiles.jsonl" => from != "rows",
        "personas.jsonl" => !matches!(from, "rows" | "profiles"),
        _ => true,
    }
}

/// `obvert-api` as the crate depends on it.
fn dependency(api: Option<&Path>) -> String {
    let built_from = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/engine/api"));
    let path = api
        .or_else(|| built_from.is_dir().then_some(built_from))
        .map(|path| path.canonicalize().unwrap_or_else(|_| path.to_owned()));
    path.map_or_else(
        || format!("{:?}", env!("CARGO_PKG_VERSION")),
        |path| format!("{{ path = {} }}", serde_json::json!(path.display().to_string())),
    )
}

fn fill(text: &str, name: &str, filled: &Filled, dependency: &str) -> String {
    let example = |text: &str| filled.example.replace("TEXT", text);
    let import =
        if filled.name == "Json" { String::new() } else { format!("use obvert_api::record::{};\n", filled.name) };
    let words = [
        ("USE", import),
        ("EXAMPLE_SHORT", example("\"short\"")),
        ("EXAMPLE_LONG", example("\"a much longer text\"")),
        ("NAME", name.to_owned()),
        ("RECORD", filled.name.to_owned()),
        ("TEXT", filled.text.to_owned()),
        ("FROM", filled.from.to_owned()),
        ("API", dependency.to_owned()),
    ];
    words.into_iter().fold(text.to_owned(), |text, (word, with)| text.replace(&format!("@{word}@"), &with))
}

/// The template's pipeline as far as the stage that makes the record, then the plugin's stage and a sink.
fn pipeline_of(from: &str) -> String {
    let text = include_str!("new/template/pipeline.toml.txt");
    let (head, rest) = text.split_once("# ---\n").unwrap_or((text, ""));
    let (stages, tail) = rest.rsplit_once("# ---\n").unwrap_or((rest, ""));
    let tables: Vec<&str> = stages.split("\n\n").map(str::trim).collect();
    let named = |table: &&str, name: &str| table.contains(&format!("[stage.{name}]"));
    let wanted: Vec<&str> = match from {
        "rows" => tables.iter().copied().filter(|table| named(table, "rows")).collect(),
        from => {
            let typed = tables.iter().copied().filter(|table| !named(table, "rows"));
            let last = typed.clone().position(|table| named(&table, from)).unwrap_or_default();
            let model = matches!(from, "rows" | "profiles" | "play");
            typed
                .take(last + 1)
                .filter(|table| !(from == "profiles" && named(table, "personas")))
                .filter(|table| !(model && table.starts_with("[model")))
                .collect()
        }
    };
    // The test gives rows.
    let tail = if from == "rows" { tail } else { tail.split_once("\n\n# `obvert test").map_or(tail, |(tail, _)| tail) };
    format!("{head}{}\n\n{}\n", wanted.join("\n\n"), tail.trim_end())
}
