//! An adapter for servers of models: a folder with the adapter in the form that the server loads, what it needs beside that, and a
//! page that says how it is started.

use std::fs;
use std::path::Path;

use obvert_trainer::load::{COMPANIONS, Checkpoint, Companions, Dialect};
use obvert_trainer::peft::{CONFIG, WEIGHTS};
use obvert_trainer::{Adapter, gguf, peft};
use serde::Serialize;

use super::template::word;
use super::{Error, template, write_atomically};

/// What a run says of an adapter, where it lies in its folder.
const CARD: [&str; 2] = ["README.md", "curves.svg"];
const GGUF: &str = "adapter.gguf";

/// The ranks that vLLM makes room for.
const RANKS: [usize; 8] = [8, 16, 32, 64, 128, 256, 320, MOST_RANK];
const MOST_RANK: usize = 512;

/// A server that an adapter can be exported to.
#[derive(Debug)]
pub struct Server {
    /// As arguments name it.
    pub name: &'static str,
    form: Form,
    /// Why it would not load what is given, if it would not.
    check: fn(&Given<'_>, &Adapter) -> Result<(), String>,
    /// Its files: their names and templates. The first one is the page.
    files: &'static [(&'static str, &'static str)],
    /// The command that starts it, in the exported folder.
    command: fn(&View) -> String,
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
        check: for_vllm,
        files: &[("vllm.md", include_str!("serve/vllm.md"))],
        command: |view| {
            let template = if view.template { " --chat-template chat_template.jinja" } else { "" };
            let View { base, name, most_rank, .. } = view;
            format!(
                "vllm serve {base} --enable-lora --max-lora-rank {most_rank} --lora-modules {name}=\"$PWD\" --generation-config vllm{template}"
            )
        },
    },
    &Server {
        name: "llama.cpp",
        form: Form::Gguf,
        check: |_, _| Ok(()),
        files: &[("llama.cpp.md", include_str!("serve/llama_cpp.md"))],
        command: |view| format!("llama-server -m {} --lora {GGUF} --jinja", view.gguf),
    },
    &Server {
        name: "ollama",
        form: Form::Gguf,
        check: |_, _| Ok(()),
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
    /// The base model as the server is to find it, if not where it is here.
    pub base: Option<&'a str>,
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
struct View {
    base: String,
    /// The base model where it has to be a GGUF file.
    gguf: String,
    /// The folder that has to be converted to one first, if it has to be.
    converts: Option<String>,
    /// As a Modelfile names it.
    from: String,
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
/// An adapter or a base model that cannot be read, do not fit, or are none for the server; a folder in which something else is; what the
/// file system reports.
pub fn export(server: &Server, given: &Given<'_>, out: &Path) -> Result<Exported, Error> {
    let checkpoint = Checkpoint::open(given.model).map_err(refused(given.model))?;
    let adapter: Adapter = peft::load(given.adapter, &checkpoint.config).map_err(refused(given.adapter))?;
    let companions = checkpoint.companions().map_err(refused(given.model))?;
    (server.check)(given, &adapter).map_err(|cause| Error::Refused { path: given.model.into(), cause })?;
    let model = place(given.model)?;
    super::export::check_folder(server.name, |name| is_own(server, name), out)?;
    fs::create_dir_all(out).map_err(Error::io(out))?;
    match server.form {
        Form::Gguf => gguf::save(&out.join(GGUF), &adapter, &checkpoint.config).map_err(refused(out))?,
        Form::Peft => write_peft(given.adapter, &companions, out)?,
    }
    for name in CARD.into_iter().filter(|name| given.adapter.join(name).is_file()) {
        copy(given.adapter, name, out)?;
    }
    let has_template = companions.files.iter().any(|(name, _)| *name == "chat_template.jinja");
    let view = view(server, given, &model, &adapter, has_template);
    for (name, text) in server.files {
        template::write(&out.join(name), &[("plain.md", text)], &view)?;
    }
    let left_out = if server.form == Form::Peft { companions.left_out } else { Vec::new() };
    Ok(Exported { command: view.command, left_out: left_out.iter().map(ToString::to_string).collect() })
}

/// For `map_err` on calls of the trainer's.
fn refused(path: &Path) -> impl FnOnce(obvert_trainer::Error) -> Error {
    let path = path.to_owned();
    move |cause| Error::Refused { path, cause: cause.to_string() }
}

fn for_vllm(given: &Given<'_>, adapter: &Adapter) -> Result<(), String> {
    if adapter.rank > MOST_RANK {
        return Err(format!("the adapter's rank is {}, vLLM takes {MOST_RANK} at most", adapter.rank));
    }
    if given.base.is_none() && given.model.is_file() {
        return Err("vLLM serves a folder or a name on the hub: say which by --base".into());
    }
    Ok(())
}

/// Where a file or folder is, from whatever folder one asks.
fn place(path: &Path) -> Result<String, Error> {
    Ok(fs::canonicalize(path).map_err(Error::io(path))?.to_string_lossy().into_owned())
}

/// Whether an export to the server may have written a file of this name.
fn is_own(server: &Server, name: &str) -> bool {
    CARD.contains(&name)
        || [GGUF, CONFIG, WEIGHTS].contains(&name)
        || COMPANIONS.contains(&name)
        || server.files.iter().any(|(file, _)| *file == name)
}

fn write_peft(adapter: &Path, companions: &Companions, out: &Path) -> Result<(), Error> {
    [CONFIG, WEIGHTS].iter().try_for_each(|name| copy(adapter, name, out))?;
    // How the base model samples is not the adapter's.
    let beside = companions.files.iter().filter(|(name, _)| *name != "generation_config.json");
    beside.into_iter().try_for_each(|(name, bytes)| write_atomically(&out.join(name), bytes))
}

fn copy(from: &Path, name: &str, to: &Path) -> Result<(), Error> {
    let from = from.join(name);
    write_atomically(&to.join(name), &fs::read(&from).map_err(Error::io(&from))?)
}

fn view(server: &Server, given: &Given<'_>, model: &str, adapter: &Adapter, has_template: bool) -> View {
    let base = given.base.unwrap_or(model);
    let converts = server.form == Form::Gguf && given.model.is_dir() && !base.ends_with(".gguf");
    let mut view = View {
        gguf: if converts { "base.gguf".into() } else { word(base) },
        base: word(base),
        converts: converts.then(|| word(model)),
        from: base.into(),
        name: word(given.name),
        rank: adapter.rank,
        most_rank: RANKS.into_iter().find(|most| *most >= adapter.rank).unwrap_or(MOST_RANK),
        alpha: adapter.alpha,
        template: server.form == Form::Peft && has_template,
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
