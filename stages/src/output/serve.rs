//! An adapter for servers of models: a folder with the adapter in the form that the server loads, what it needs beside that, and a
//! page that says how it is started.

use std::fs;
use std::path::Path;

use obvert_trainer::load::{Checkpoint, Dialect};
use obvert_trainer::{Adapter, gguf, peft};
use serde::Serialize;

use super::template::word;
use super::{Error, atomic, template, write_atomically};

/// What a run says of an adapter, where it lies in its folder.
const CARD: &str = "README.md";
const GGUF: &str = "adapter.gguf";
const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// A server that an adapter can be exported to.
#[derive(Debug)]
pub struct Server {
    /// As arguments name it.
    pub name: &'static str,
    form: Form,
    /// Its files: their names and templates. The first one is the page.
    files: &'static [(&'static str, &'static str)],
    /// The command that starts it, in the exported folder.
    command: fn(&View<'_>) -> String,
}

/// How an adapter is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A PEFT folder, the base model's tokenizer and chat template in it.
    Peft,
    /// A GGUF file; the base model's own brings tokenizer and template along.
    Gguf,
}

/// All of them.
pub static SERVERS: [&Server; 3] = [
    &Server {
        name: "vllm",
        form: Form::Peft,
        files: &[("vllm.md", include_str!("serve/vllm.md"))],
        command: |view| {
            let template = if view.template { " --chat-template chat_template.jinja" } else { "" };
            let View { base, name, most_rank, .. } = view;
            format!(
                "vllm serve {base} --enable-lora --max-lora-rank {most_rank} --lora-modules {name}=\"$PWD\"{template}"
            )
        },
    },
    &Server {
        name: "llama.cpp",
        form: Form::Gguf,
        files: &[("llama.cpp.md", include_str!("serve/llama_cpp.md"))],
        command: |view| format!("llama-server -m {} --lora {GGUF} --jinja", view.gguf),
    },
    &Server {
        name: "ollama",
        form: Form::Gguf,
        files: &[("ollama.md", include_str!("serve/ollama.md")), ("Modelfile", include_str!("serve/Modelfile"))],
        command: |view| format!("ollama create {} -f Modelfile", view.name),
    },
];

/// What is exported.
#[derive(Debug)]
pub struct Given<'a> {
    /// The base model: a Hugging Face folder or a GGUF file.
    pub model: &'a Path,
    /// The adapter: a PEFT folder.
    pub adapter: &'a Path,
    /// The base model as the server is to find it.
    pub base: &'a str,
    /// What the adapter is called there.
    pub name: &'a str,
}

/// What became of it.
#[derive(Debug)]
pub struct Exported {
    /// The command that starts the server.
    pub command: String,
    /// What could not be made.
    pub left_out: Vec<String>,
}

/// What templates see; texts are words of a shell.
#[derive(Serialize)]
struct View<'a> {
    base: String,
    /// The base model where it has to be a GGUF file.
    gguf: String,
    /// Whether it has to be converted to one first.
    converts: bool,
    /// As a Modelfile names it.
    from: &'a str,
    name: String,
    rank: usize,
    /// The least rank not below it that vLLM makes room for.
    most_rank: usize,
    alpha: f64,
    /// Whether there is a chat template of its own.
    template: bool,
    /// Texts that end an answer.
    stop: Vec<String>,
    command: String,
}

/// Writes what a server needs to load an adapter into a folder.
///
/// # Errors
/// An adapter or a base model that cannot be read, or do not fit; a folder in which something else is; what the file system reports.
pub fn export(server: &Server, given: &Given<'_>, out: &Path) -> Result<Exported, Error> {
    let refused = |path: &Path| {
        let path = path.to_owned();
        move |cause: obvert_trainer::Error| Error::Refused { path, cause: cause.to_string() }
    };
    let checkpoint = Checkpoint::open(given.model).map_err(refused(given.model))?;
    let adapter: Adapter = peft::load(given.adapter, &checkpoint.config).map_err(refused(given.adapter))?;
    let companions = checkpoint.companions().map_err(refused(given.model))?;
    let beside: Vec<_> = companions.files.iter().filter(|(name, _)| belongs(name)).collect();
    let own = |name: &str| {
        [CARD, GGUF, CONFIG, WEIGHTS].contains(&name)
            || server.files.iter().any(|(file, _)| *file == name)
            || beside.iter().any(|(file, _)| *file == name)
    };
    super::export::check_folder(server.name, own, out)?;
    fs::create_dir_all(out).map_err(Error::io(out))?;
    let mut left_out = Vec::new();
    match server.form {
        Form::Gguf => gguf::save(&out.join(GGUF), &adapter, &checkpoint.config).map_err(refused(out))?,
        Form::Peft => {
            [CONFIG, WEIGHTS].iter().try_for_each(|name| copy(given.adapter, name, out))?;
            beside.iter().try_for_each(|(name, bytes)| write_atomically(&out.join(name), bytes))?;
            left_out.extend(companions.left_out.iter().map(ToString::to_string));
        }
    }
    if given.adapter.join(CARD).is_file() {
        copy(given.adapter, CARD, out)?;
    }
    let template = server.form == Form::Peft && beside.iter().any(|(name, _)| *name == "chat_template.jinja");
    let view = view(server, given, &adapter, template);
    for (name, text) in server.files {
        template::write(&out.join(name), &[("plain.md", text)], &view)?;
    }
    Ok(Exported { command: view.command, left_out })
}

/// Of what stands beside a model's weights, what an adapter's folder has, too.
fn belongs(name: &str) -> bool {
    name != "generation_config.json"
}

fn copy(from: &Path, name: &str, to: &Path) -> Result<(), Error> {
    let from = from.join(name);
    let bytes = fs::read(&from).map_err(Error::io(&from))?;
    atomic::write(&to.join(name), |out| std::io::Write::write_all(out, &bytes).map_err(Error::io(to)))
}

fn view<'a>(server: &Server, given: &Given<'a>, adapter: &Adapter, template: bool) -> View<'a> {
    let converts = server.form == Form::Gguf && given.model.is_dir();
    let base = word(given.base);
    let mut view = View {
        gguf: if converts { "base.gguf".into() } else { base.clone() },
        base,
        converts,
        from: given.base,
        name: word(given.name),
        rank: adapter.rank,
        most_rank: [8, 16, 32, 64, 128, 256, 320, 512].into_iter().find(|most| *most >= adapter.rank).unwrap_or(512),
        alpha: adapter.alpha,
        template,
        stop: stop(given.model),
        command: String::new(),
    };
    view.command = (server.command)(&view);
    view
}

/// The texts of the tokens that end an answer, as far as the model's files tell.
fn stop(model: &Path) -> Vec<String> {
    let Ok(dialect) = Dialect::open(model) else { return Vec::new() };
    let texts = dialect.stop().iter().filter_map(|id| dialect.tokenizer.decode_with_special(&[*id]).ok());
    texts.filter(|text| !text.trim().is_empty()).collect()
}
