//! Asks a server what the adapter answers there, and compares it with what it answers here.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use obvert_api::record::Message;
use obvert_api::{Reply, Request};
use obvert_engine::model::Model;
use obvert_stages::Findings;
use serde_json::{Value, json};

use crate::verbs::{pairs, registry};

/// The longest that one answer may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// Characters shown of answers where they part.
const SHOWN: usize = 40;

/// Arguments of `export` about the server.
#[derive(clap::Args)]
pub struct Arguments {
    /// Ask the server at this address, up to the version (http://localhost:8000/v1), which already has the adapter under its name, and
    /// say how far its greedy answers are those given here.
    #[arg(long, value_name = "URL")]
    replay: Option<String>,
    /// Prompts that are replayed.
    #[arg(long, default_value_t = 8)]
    prompts: usize,
    /// Pairs whose prompts are replayed; by default those of the run.
    #[arg(long)]
    pairs: Option<PathBuf>,
    /// Tokens of an answer at most.
    #[arg(long, default_value_t = 128)]
    max_tokens: u32,
    /// The environment's variable that holds the server's key, where it wants one.
    #[arg(long, value_name = "NAME")]
    key_env: Option<String>,
}

impl Arguments {
    /// Whether a server is named.
    pub fn is_asked(&self) -> bool {
        self.replay.is_some()
    }

    /// Replays prompts, where a server is named, and prints what came of it.
    pub fn replay(&self, run: &Path, model: &Path, adapter: &Path, name: &str) -> anyhow::Result<()> {
        let Some(url) = &self.replay else { return Ok(()) };
        let prompts = self.prompts_of(self.pairs.as_deref().unwrap_or(run))?;
        let registry = registry(&Findings::default())?;
        let mut settings = json!({ "base_url": url, "model": name });
        if let Some(key) = &self.key_env {
            settings["key"] = format!("${{env:{key}}}").into();
        }
        let server = registry.open_model("server", "openai", &settings)?;
        let local = registry.open_model("here", "local", &json!({ "path": model }))?;
        let here = Request { adapter: Some(adapter.to_string_lossy().into_owned()), ..self.request() };
        let here = answers(&*local, &here, &prompts, prompts.len()).context("here")?;
        let there = answers(&*server, &self.request(), &prompts, 1).with_context(|| url.clone())?;
        print(url, &here, &there);
        Ok(())
    }

    fn request(&self) -> Request {
        let mut request = Request::new("replay", Vec::new());
        request.sampling.max_tokens = self.max_tokens;
        request
    }

    /// The first prompts that differ.
    fn prompts_of(&self, pairs: &Path) -> anyhow::Result<Vec<Vec<Message>>> {
        let files = pairs::files(pairs).with_context(|| format!("{}: prompts to replay", pairs.display()))?;
        let (mut seen, mut prompts) = (HashSet::new(), Vec::new());
        for file in files {
            let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            for line in text.lines() {
                let row: Value = serde_json::from_str(line).with_context(|| file.display().to_string())?;
                let prompt: Vec<Message> =
                    serde_json::from_value(row["prompt"].clone()).with_context(|| file.display().to_string())?;
                if prompts.len() < self.prompts && seen.insert(row["prompt"].to_string()) {
                    prompts.push(prompt);
                }
            }
        }
        if prompts.is_empty() {
            bail!("{}: there is no prompt to replay", pairs.display());
        }
        Ok(prompts)
    }
}

/// The answers of a model, so many asked for at once.
fn answers(model: &dyn Model, like: &Request, prompts: &[Vec<Message>], batch: usize) -> anyhow::Result<Vec<Reply>> {
    let request = |prompt: &Vec<Message>| Request { messages: prompt.clone(), ..like.clone() };
    let requests: Vec<Request> = prompts.iter().map(request).collect();
    let replies = requests.chunks(batch).flat_map(|requests| model.call(requests, Some(PATIENCE)));
    replies.map(|reply| reply.map_err(|failure| anyhow::anyhow!("{}", failure.cause))).collect()
}

fn print(url: &str, here: &[Reply], there: &[Reply]) {
    let compared: Vec<_> =
        here.iter().zip(there).map(|(here, there)| parting(here.text.trim(), there.text.trim())).collect();
    let same = compared.iter().filter(|parting| parting.is_none()).count();
    println!("replayed {} prompts at {url}: {same} answered as here, word for word", here.len());
    for (index, parting) in compared.iter().enumerate() {
        let Some(Parting { alike, of, here, there }) = parting else { continue };
        println!(
            "  prompt {}: alike for {alike} of {of} characters, then {here:?} here and {there:?} there",
            index + 1
        );
    }
    if same < here.len() {
        println!(
            "greedy answers part where two words are nearly as likely: other kernels and quantised weights suffice for that"
        );
    }
}

/// Where two answers part.
struct Parting {
    alike: usize,
    of: usize,
    here: String,
    there: String,
}

fn parting(here: &str, there: &str) -> Option<Parting> {
    let alike = here.chars().zip(there.chars()).take_while(|(a, b)| a == b).count();
    let rest = |text: &str| text.chars().skip(alike).take(SHOWN).collect::<String>();
    let of = here.chars().count().max(there.chars().count());
    (here != there).then(|| Parting { alike, of, here: rest(here), there: rest(there) })
}
