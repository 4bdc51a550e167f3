//! Asks a server what the adapter answers there, and compares it with what it answers here.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use obvert_api::record::Message;
use obvert_api::{Reply, Request};
use obvert_engine::model::Model;
use obvert_stages::Findings;
use obvert_stages::output::serve::Given;
use serde_json::{Value, json};

use crate::verbs::{Refused, pairs, registry};

/// The longest that one answer may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// Characters shown of answers where they part.
const SHOWN: usize = 40;

/// Conversations to be answered.
type Prompts = Vec<Vec<Message>>;

/// Arguments of `export` about the server.
#[derive(clap::Args)]
pub struct Arguments {
    /// Ask the server at this address, up to the version (http://localhost:8000/v1), which already has the adapter under its name, and
    /// say how far its greedy answers are those given here.
    #[arg(long, value_name = "URL")]
    replay: Option<String>,
    /// Prompts that are replayed.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    prompts: u32,
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

    /// The address and the prompts, where a server is named.
    pub fn prepared(&self, run: &Path) -> anyhow::Result<Option<(&str, Prompts)>> {
        let Some(url) = &self.replay else { return Ok(None) };
        let is_address = ["http://", "https://"].iter().any(|begins| url.starts_with(begins));
        let cause = "it is no address: one begins with http:// or https://";
        anyhow::ensure!(is_address, Refused(format!("error: --replay {url}: {cause}")));
        let pairs = self.pairs.as_deref().unwrap_or(run);
        let prompts = self.prompts_of(pairs).with_context(|| {
            format!("{}: the prompts to replay are those of pairs, which --pairs can name", pairs.display())
        })?;
        Ok(Some((url, prompts)))
    }

    /// Replays prompts, and prints what came of it.
    pub fn replay(&self, url: &str, prompts: &[Vec<Message>], given: &Given<'_>) -> anyhow::Result<()> {
        let registry = registry(&Findings::default())?;
        let mut settings = json!({ "base_url": url, "model": given.name });
        if let Some(key) = &self.key_env {
            settings["key"] = format!("${{env:{key}}}").into();
        }
        let server = registry.open_model("server", "openai", &settings)?;
        let local = registry.open_model("here", "local", &json!({ "path": given.model }))?;
        let adapted = Request { adapter: Some(given.adapter.to_string_lossy().into_owned()), ..self.request() };
        let [here, base] = [&adapted, &self.request()].map(|request| answers(&*local, request, prompts, prompts.len()));
        let there = answers(&*server, &self.request(), prompts, 1).with_context(|| url.to_owned())?;
        print(url, &here?, &base?, &there);
        Ok(())
    }

    fn request(&self) -> Request {
        let mut request = Request::new("replay", Vec::new());
        request.sampling.max_tokens = self.max_tokens;
        request
    }

    /// The first prompts that differ.
    fn prompts_of(&self, pairs: &Path) -> anyhow::Result<Prompts> {
        let (mut seen, mut prompts) = (HashSet::new(), Vec::new());
        for file in pairs::files(pairs)? {
            let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                if prompts.len() == self.prompts as usize {
                    return Ok(prompts);
                }
                let row: Value = serde_json::from_str(line).with_context(|| format!("line {}", index + 1))?;
                if seen.insert(row["prompt"].to_string()) {
                    let prompt = serde_json::from_value(row["prompt"].clone());
                    prompts.push(prompt.with_context(|| format!("line {}: `prompt`", index + 1))?);
                }
            }
        }
        anyhow::ensure!(!prompts.is_empty(), "there is no prompt to replay");
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

/// What a server answers, beside what is answered here with the adapter and without it.
fn print(url: &str, here: &[Reply], base: &[Reply], there: &[Reply]) {
    let compared = |ours: &[Reply]| -> Vec<Option<Parting>> {
        ours.iter().zip(there).map(|(ours, there)| parting(ours.text.trim(), there.text.trim())).collect()
    };
    let same = |compared: &[Option<Parting>]| compared.iter().filter(|parting| parting.is_none()).count();
    let (with, without) = (compared(here), compared(base));
    println!("replayed {} prompts at {url}: {} answered as here, word for word", here.len(), same(&with));
    for (index, parting) in with.iter().enumerate() {
        let Some(Parting { alike, of, here, there }) = parting else { continue };
        println!(
            "  prompt {}: alike for {alike} of {of} characters, then {here:?} here and {there:?} there",
            index + 1
        );
    }
    if same(&without) > same(&with) {
        println!("{} are answered as without the adapter: the server does not use it", same(&without));
    } else if same(&with) < here.len() && same(&with) > 0 {
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
