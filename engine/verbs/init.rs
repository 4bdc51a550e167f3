//! `init`: a folder with a pipeline that runs at once. All of it is in the program: nothing is fetched.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;

use super::Refused;

/// Arguments of `init`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The folder: it is made, or is empty.
    folder: PathBuf,
    /// What is in it.
    #[arg(long, value_enum, default_value_t)]
    template: Template,
    /// Address of the server, for the template `endpoint`.
    #[arg(long, default_value = "http://localhost:8000/v1")]
    base_url: String,
    /// Its model, for the template `endpoint`.
    #[arg(long, default_value = "policy")]
    model: String,
}

/// What there is to begin with.
#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Template {
    /// A tiny model answers, a program judges, what an answer violates is reversed, and the model learns from the pairs: no server, key or GPU.
    #[default]
    Quickstart,
    /// Prompts of one's own through a server that speaks as OpenAI's does, to pairs.
    Endpoint,
    /// The same as the quickstart up to the pairs.
    Pairs,
    /// A file of pairs, and a model to train on them.
    Train,
    /// A folder of prompts that is followed: what changes is made anew, and nothing else.
    Watch,
}

/// A file of a template: where it lies, and what is in it.
type File = (PathBuf, Vec<u8>);

/// The model of the quickstart.
const MODEL: [(&str, &[u8]); 5] = [
    ("config.json", include_bytes!("../../pipelines/quickstart/model/config.json")),
    ("generation_config.json", include_bytes!("../../pipelines/quickstart/model/generation_config.json")),
    ("model.safetensors", include_bytes!("../../pipelines/quickstart/model/model.safetensors")),
    ("tokenizer.json", include_bytes!("../../pipelines/quickstart/model/tokenizer.json")),
    ("tokenizer_config.json", include_bytes!("../../pipelines/quickstart/model/tokenizer_config.json")),
];
const PIPELINE: &str = include_str!("../../pipelines/quickstart.toml");
const PROFILES: &str = include_str!("../../pipelines/quickstart/profiles.jsonl");
const PERSONAS: &str = include_str!("../../pipelines/quickstart/personas.jsonl");
const HELDOUT: &str = include_str!("../../pipelines/quickstart/heldout.jsonl");
/// The schema of pipelines, beside the pipeline.
const SCHEMA: &str = "pipeline.schema.json";
/// Stages of the quickstart that learn and examine, by the beginnings of their names.
const LEARNING: [&str; 4] = ["stage.train", "stage.heldout", "stage.exam", "stage.scores"];
/// Prompts in the folder that is followed.
const FOLLOWED: usize = 12;

/// Makes the folder.
pub fn init(arguments: &Arguments) -> anyhow::Result<()> {
    let folder = &arguments.folder;
    if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Refused(format!("error: {} is there already, and not empty", folder.display())).into());
    }
    for (file, bytes) in files(arguments)? {
        let path = folder.join(file);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, bytes));
        made.with_context(|| path.display().to_string())?;
    }
    println!("{}/ is ready.\n\n    cd {}", folder.display(), folder.display());
    next(arguments.template).iter().for_each(|(command, why)| println!("    {command:<48} # {why}"));
    Ok(())
}

fn files(arguments: &Arguments) -> anyhow::Result<Vec<File>> {
    let personas = || text("quickstart/personas.jsonl", PERSONAS);
    let world = || [text("quickstart/profiles.jsonl", PROFILES), personas()];
    let mut files = vec![text(".gitignore", "/runs\n")];
    match arguments.template {
        Template::Quickstart => {
            files.extend([pipeline(PIPELINE), text("quickstart/heldout.jsonl", HELDOUT)]);
            files.extend(world());
        }
        Template::Pairs => {
            files.push(pipeline(&without_learning("pairs")));
            files.extend(world());
        }
        Template::Watch => {
            files.extend([pipeline(&watched()), personas()]);
            files.extend(prompts());
        }
        Template::Train => files.push(text("pairs.jsonl", include_str!("init/pairs.jsonl"))),
        Template::Endpoint => files.extend(endpoint(arguments)),
    }
    if arguments.template != Template::Endpoint {
        files.extend(MODEL.map(|(file, bytes)| (Path::new("quickstart/model").join(file), bytes.to_vec())));
    }
    if arguments.template != Template::Train {
        // What editors and coding agents look for beside a pipeline.
        files.push(text(SCHEMA, &super::graph::schema_of(None)?));
        files.push(text("AGENTS.md", include_str!("init/AGENTS.md")));
    }
    Ok(files)
}

/// A pipeline, in which editors find its schema.
fn pipeline(content: &str) -> File {
    text(super::PIPELINE, &format!("#:schema ./{SCHEMA}\n{content}"))
}

fn text(file: impl Into<PathBuf>, text: &str) -> File {
    (file.into(), text.as_bytes().to_vec())
}

/// The quickstart's pipeline, paragraph by paragraph, without what comes after the pairs.
fn without_learning(name: &str) -> String {
    let learns = |paragraph: &str| LEARNING.iter().any(|table| paragraph.contains(&format!("[{table}")));
    let kept: Vec<&str> = PIPELINE.split("\n\n").filter(|paragraph| !learns(paragraph)).collect();
    kept.join("\n\n").replace("name = \"quickstart\"", &format!("name = \"{name}\""))
}

/// The same from a folder of prompts.
fn watched() -> String {
    without_learning("watch").replace("quickstart/profiles.jsonl", "prompts")
}

/// Each in a file of its own.
fn prompts() -> impl Iterator<Item = File> {
    let rows = PROFILES.lines().take(FOLLOWED).enumerate();
    rows.map(|(at, row)| text(format!("prompts/{:02}.jsonl", at + 1), &format!("{row}\n")))
}

fn endpoint(arguments: &Arguments) -> [File; 5] {
    let filled = include_str!("init/endpoint.toml.txt")
        .replace("@BASE_URL@", &arguments.base_url)
        .replace("@MODEL@", &arguments.model);
    [
        pipeline(&filled),
        text("profiles.jsonl", include_str!("init/profiles.jsonl")),
        text("personas.jsonl", include_str!("init/personas.jsonl")),
        text("corrections.jsonl", ""),
        text("vetoes.jsonl", ""),
    ]
}

/// What to do in the folder, and why.
fn next(template: Template) -> &'static [(&'static str, &'static str)] {
    match template {
        Template::Quickstart => &[
            ("obvert run", "a minute on two cores; ends with a report"),
            ("obvert ui", "beside it: the run in the browser"),
        ],
        Template::Pairs => &[
            ("obvert run", "pairs in runs/pairs/pairs, in TRL's format and others"),
            ("obvert export runs/pairs/pairs --to trl --out trl", "checked by TRL's rules, with a configuration"),
        ],
        Template::Train => &[(
            "obvert train --model quickstart/model --pairs pairs.jsonl --out adapter --lr 4e-3",
            "an adapter in PEFT's format",
        )],
        Template::Watch => &[
            ("obvert run --watch", "until Ctrl-C; edit a file in prompts/ meanwhile"),
            ("tail -f runs/watch/pairs/changes.jsonl", "what an edit takes away and adds"),
        ],
        Template::Endpoint => &[
            ("obvert doctor", "is the server there, and what can it do?"),
            ("obvert test", "needs no server"),
            ("obvert run", "pairs in runs/endpoint/pairs, in TRL's format and others"),
        ],
    }
}
