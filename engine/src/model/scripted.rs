//! A model that follows a script: deterministic, for tests, quickstarts and runs at scale.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::time::Duration;

use minijinja::{Environment, Value, context};
use obvert_api::{PathSetting, Reply, Request};
use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Failure, Model, Then};

/// Settings of `kind = "scripted"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scripted {
    /// Tried in order; the first rule that matches answers.
    pub rule: Vec<Rule>,
    /// Milliseconds that a call takes.
    #[serde(default)]
    pub latency_ms: u64,
    /// A file to which every call adds a line before it is answered: what has been paid for.
    pub log: Option<PathSetting>,
}

/// One rule of a script.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Regular expression searched in the request's messages, joined by blank lines.
    #[serde(rename = "match")]
    pub pattern: String,
    /// Template of the reply (Jinja). It sees the named groups of the match, `sample`, `turn` (messages of
    /// the model's own so far, plus one), `list | pick`, which takes one element by the hash of the request, and `list | toss`,
    /// which takes one by chance: another for the same request, as models do that are no scripts.
    pub reply: String,
}

struct Script {
    rules: Vec<(Regex, String)>,
    latency: Duration,
    log: Option<File>,
    identity: String,
}

impl Scripted {
    /// Checks the script and makes the model.
    pub fn open(settings: &serde_json::Value) -> Result<impl Model + use<>, String> {
        let script = Scripted::deserialize(settings).map_err(|e| e.to_string())?;
        let mut rules = Vec::new();
        for (index, rule) in script.rule.into_iter().enumerate() {
            let pattern = Regex::new(&rule.pattern).map_err(|e| format!("rule {}: match: {e}", index + 1))?;
            Environment::new().template_from_str(&rule.reply).map_err(|e| format!("rule {}: reply: {e}", index + 1))?;
            rules.push((pattern, rule.reply));
        }
        let text = rules.iter().map(|(pattern, reply)| format!("{pattern}\n{reply}\n")).collect::<String>();
        let identity = format!("scripted {}", blake3::hash(text.as_bytes()).to_hex());
        let open = |path: &PathSetting| File::options().append(true).create(true).open(&path.0);
        let log = script.log.as_ref().map(open).transpose().map_err(|e| format!("log: {e}"))?;
        Ok(Script { rules, latency: Duration::from_millis(script.latency_ms), log, identity })
    }
}

impl Model for Script {
    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn lanes(&self) -> usize {
        if self.latency.is_zero() { 1 } else { 64 }
    }

    fn batch(&self) -> usize {
        if self.latency.is_zero() { 256 } else { 1 }
    }

    fn call(&self, requests: &[Request], _: Option<Duration>) -> Vec<Result<Reply, Failure>> {
        for request in requests {
            if let Err(error) = self.record(request) {
                return vec![Err(format!("log: {error}").into()); requests.len()];
            }
        }
        std::thread::sleep(self.latency);
        let answer = |request| self.answer(request).map_err(|cause| Failure::new(cause, Then::Leave));
        requests.iter().map(answer).collect()
    }
}

impl Script {
    fn record(&self, request: &Request) -> std::io::Result<()> {
        let Some(mut log) = self.log.as_ref() else {
            return Ok(());
        };
        log.write_all(format!("{:016x} {}\n", seed(request), request.sample).as_bytes())
    }

    fn answer(&self, request: &Request) -> Result<Reply, String> {
        let text = request.messages.iter().map(|m| m.content.as_str()).collect::<Vec<_>>().join("\n\n");
        let matched = self.rules.iter().find_map(|(pattern, reply)| Some((pattern, pattern.captures(&text)?, reply)));
        let (pattern, captures, reply) = matched.ok_or("no rule of the script matches the request")?;
        let named = pattern.capture_names().flatten();
        let groups = Value::from_pairs(named.map(|n| (n, captures.name(n).map_or("", |m| m.as_str()))));
        let turn = 1 + request.messages.iter().filter(|m| m.role == "assistant").count();
        let text = environment(seed(request))
            .render_str(reply, context! { sample => request.sample, turn => turn, ..groups })
            .map_err(|e| e.to_string())?;
        let (prompt_tokens, reply_tokens) = (words(&captures[0]), words(&text));
        Ok(Reply { text, prompt_tokens, reply_tokens, finished: true })
    }
}

fn words(text: &str) -> u32 {
    text.split_whitespace().count() as u32
}

/// A number that stands for the request.
fn seed(request: &Request) -> u64 {
    let text = serde_json::to_vec(&(&request.messages, request.sample, request.sampling.seed)).unwrap_or_default();
    blake3::hash(&text).as_bytes()[..8].iter().fold(0, |acc, b| acc << 8 | u64::from(*b))
}

/// Templates with `split_list`, `toss` and `pick`, whose n-th use within a reply draws its own number from the seed.
fn environment(seed: u64) -> Environment<'static> {
    let mut environment = Environment::new();
    let draws = std::sync::atomic::AtomicU64::new(0);
    environment.add_filter("split_list", |text: &str| -> Vec<String> {
        text.split(',').map(|part| part.trim().to_string()).filter(|part| !part.is_empty()).collect()
    });
    environment.add_filter("pick", move |list: Vec<Value>| -> Result<Value, minijinja::Error> {
        let draw = draws.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let hash = blake3::hash(&[seed.to_le_bytes(), draw.to_le_bytes()].concat());
        taken(&list, hash.as_bytes()[..8].iter().fold(0u64, |acc, b| acc << 8 | u64::from(*b)))
    });
    environment.add_filter("toss", |list: Vec<Value>| taken(&list, RandomState::new().hash_one(0)));
    environment
}

/// The element that a number says.
fn taken(list: &[Value], number: u64) -> Result<Value, minijinja::Error> {
    let index = number.checked_rem(list.len() as u64).ok_or_else(|| {
        minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, "nothing to take from an empty list")
    })?;
    Ok(list[index as usize].clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use obvert_api::record::Message;

    fn ask(rules: serde_json::Value, text: &str, sample: u32) -> Result<String, String> {
        let model = Scripted::open(&serde_json::json!({ "rule": rules }))?;
        let mut request = Request::new("m", vec![Message::new("user", text)]);
        request.sample = sample;
        model.call(&[request], None).remove(0).map(|r| r.text).map_err(|failure| failure.cause)
    }

    #[test]
    fn the_first_matching_rule_answers_with_its_groups() {
        let rules = serde_json::json!([
            {"match": "likes (?P<what>\\w+)", "reply": "Tell me about {{ what }}."},
            {"match": ".", "reply": "{{ 'a,b,c' | split_list | pick }}"}
        ]);
        assert_eq!(ask(rules.clone(), "she likes bread", 0).unwrap(), "Tell me about bread.");
        let picks: Vec<_> = (0..20).map(|s| ask(rules.clone(), "x", s).unwrap()).collect();
        assert!(["a", "b", "c"].iter().all(|p| picks.iter().any(|q| q == p)), "{picks:?}");
        assert_eq!(picks, (0..20).map(|s| ask(rules.clone(), "x", s).unwrap()).collect::<Vec<_>>());
        let rules = serde_json::json!([{"match": ".", "reply": "{{ ['a', 'b'] | toss }}"}]);
        let tosses: Vec<_> = (0..60).map(|_| ask(rules.clone(), "x", 0).unwrap()).collect();
        assert!(tosses.contains(&"a".into()) && tosses.contains(&"b".into()), "{tosses:?}");
    }

    #[test]
    fn a_request_without_rule_and_a_broken_script_are_errors() {
        assert!(ask(serde_json::json!([{"match": "^y$", "reply": "z"}]), "x", 0).unwrap_err().contains("no rule"));
        assert!(
            ask(serde_json::json!([{"match": "(", "reply": "z"}]), "x", 0).unwrap_err().starts_with("rule 1: match")
        );
    }
}
