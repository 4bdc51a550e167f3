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
    /// The tables of the template's pipeline that make it; the last one is the stage.
    tables: &'static [&'static str],
}

/// All tables of the template's pipeline that lead to pairs: those of other records are the first so many of them.
const TO_PAIRS: [&str; 10] = [
    "stage.profiles",
    "stage.personas",
    "stage.session",
    "stage.play",
    "model.policy",
    "stage.respond",
    "stage.judge",
    "stage.reverse",
    "stage.pair",
    "stage.verify",
];

impl Filled {
    /// The stage that the plugin's comes after.
    fn from(&self) -> &'static str {
        self.tables.last().and_then(|table| table.strip_prefix("stage.")).unwrap_or_default()
    }
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
        let (name, text, example, tables): (_, _, _, &'static [&'static str]) = match self {
            Record::Json => (
                "Json",
                r#"record.0["text"].as_str().unwrap_or_default()"#,
                r#"{ "text": TEXT }"#.into(),
                &["stage.rows"],
            ),
            Record::Profile => ("Profile", "record.description", profile.into(), &TO_PAIRS[..1]),
            Record::Turn => ("Turn", "record.query", turn("TEXT"), &TO_PAIRS[..4]),
            Record::Response => ("Response", "record.text", response, &TO_PAIRS[..6]),
            Record::Judged => (
                "Judged",
                "record.response.text",
                format!(r#"{{ "response": {response}, "verdicts": [] }}"#),
                &TO_PAIRS[..7],
            ),
            Record::Pair => ("Pair", "record.chosen", pair.into(), &TO_PAIRS),
        };
        Filled { name, text, example, tables }
    }
}

/// The files of a plugin, with what stands in them for its name, its record and its dependency.
const TEMPLATE: [(&str, &str); 5] = [
    ("Cargo.toml", include_str!("new/template/Cargo.toml.txt")),
    // The versions that this program was built with: they are known to build together. What is not needed goes from it at once.
    ("Cargo.lock", include_str!("../../Cargo.lock")),
    ("src/lib.rs", include_str!("new/template/lib.rs.txt")),
    ("README.md", include_str!("new/template/README.md.txt")),
    (".gitignore", "/target\n/runs\n"),
];

/// Makes it.
pub fn new(What::Plugin(arguments): &What) -> anyhow::Result<()> {
    let name = arguments.name.as_str();
    check_name(name)?;
    let filled = arguments.record.filled();
    let dependency = dependency(arguments.api.as_deref());
    let pipeline = format!("{name}.toml");
    let files = TEMPLATE.into_iter().chain(inputs(&filled)).map(|(file, text)| (file, text.to_owned()));
    for (file, text) in files.chain([(pipeline.as_str(), pipeline_of(filled.tables))]) {
        let path = Path::new(name).join(file);
        let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
        let written = folder.and_then(|()| fs::write(&path, fill(&text, name, &filled, &dependency)));
        written.with_context(|| path.display().to_string())?;
    }
    println!("{name}/ is a plugin that keeps records with a short text. From its folder:\n");
    println!("    cargo test\n    obvert run {pipeline}\n    obvert preview {pipeline}\n\nREADME.md says the rest.");
    Ok(())
}

/// Refuses a name that cannot be a crate's and a stage type's, or that is taken.
fn check_name(name: &str) -> anyhow::Result<()> {
    let plain = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let sound = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.split('-').all(plain);
    let form = "cannot be a plugin's name: small letters, digits and `-`, such as max-length";
    ensure!(sound, Refused(format!("error: `{name}` {form}")));
    let taken = super::registry(&Findings::default())?.entry(name).is_some();
    let form = "is a stage type of the program: its plugin would stand in for that";
    ensure!(!taken, Refused(format!("error: `{name}` {form}")));
    ensure!(!Path::new(name).exists(), Refused(format!("error: {name} is there already")));
    Ok(())
}

/// The inputs that the pipeline reads.
fn inputs(filled: &Filled) -> impl Iterator<Item = (&'static str, &'static str)> {
    let inputs = [
        ("stage.rows", "rows.jsonl", include_str!("new/template/rows.jsonl")),
        ("stage.profiles", "profiles.jsonl", include_str!("new/template/profiles.jsonl")),
        ("stage.personas", "personas.jsonl", include_str!("new/template/personas.jsonl")),
    ];
    let tables = filled.tables;
    inputs.into_iter().filter(move |(table, _, _)| tables.contains(table)).map(|(_, file, text)| (file, text))
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
        ("FROM", filled.from().to_owned()),
        ("API", dependency.to_owned()),
    ];
    words.into_iter().fold(text.to_owned(), |text, (word, with)| text.replace(&format!("@{word}@"), &with))
}

/// The template's pipeline with these tables, then the plugin's stage and a sink; with a test where that can give rows.
fn pipeline_of(tables: &[&str]) -> String {
    let paragraphs = include_str!("new/template/pipeline.toml.txt").split("\n\n");
    let is_wanted = |paragraph: &&str| match paragraph.split_once("]").and_then(|(head, _)| head.strip_prefix('[')) {
        Some(table) => matches!(table, "stage.own" | "stage.out") || tables.contains(&table),
        None => !paragraph.contains("[[test]]") || tables.contains(&"stage.rows"),
    };
    paragraphs.filter(is_wanted).collect::<Vec<_>>().join("\n\n")
}
