//! `kind = "local"`: models that run in this process, loaded once and shared by sampling and training.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use obvert_api::record::Message;
use obvert_api::{PathSetting, Reply, Request};
use obvert_engine::Registry;
use obvert_engine::model::Model;
use obvert_trainer::generate::{Job, Sampling, generate};
use obvert_trainer::load::{self, Checkpoint, Dialect};
use obvert_trainer::{Adapter, peft};
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of `kind = "local"`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// A Hugging Face folder or a GGUF file.
    path: PathSetting,
}

/// A loaded model with its tokenizer and chat template.
pub struct Policy {
    /// The frozen weights.
    pub model: Arc<obvert_trainer::Model<f32>>,
    /// How it is spoken to.
    pub dialect: Dialect,
    identity: String,
    adapters: Mutex<HashMap<String, Arc<Adapter<f32>>>>,
}

/// The models of this process by path.
#[derive(Clone, Default)]
pub struct Shelf(Arc<Mutex<BTreeMap<PathBuf, Arc<Policy>>>>);

impl Shelf {
    /// The model at a path; loaded when it is first asked for.
    pub fn get(&self, path: &Path) -> Result<Arc<Policy>, String> {
        let mut shelf = lock(&self.0);
        if let Some(policy) = shelf.get(path) {
            return Ok(Arc::clone(policy));
        }
        let policy = Arc::new(Policy::open(path)?);
        shelf.insert(path.to_path_buf(), Arc::clone(&policy));
        Ok(policy)
    }
}

/// Adds the model kind `local`.
pub(crate) fn register(registry: &mut Registry, shelf: &Shelf) {
    let shelf = shelf.clone();
    let check = |settings: &serde_json::Value| {
        let path = path_of(settings)?;
        Checkpoint::open(&path).and_then(|_| Dialect::open(&path)).map(drop).map_err(|e| e.to_string())
    };
    let open = move |settings: &serde_json::Value| {
        let settings = Settings::deserialize(settings).map_err(|e| e.to_string())?;
        Ok(Arc::new(Local(shelf.get(&settings.path.0)?)) as Arc<dyn Model>)
    };
    registry.add_model("local", schemars::schema_for!(Settings).to_value(), Arc::new(check), Arc::new(open));
}

/// The path of a `[model.NAME]` of kind `local`, from its settings.
pub(crate) fn path_of(settings: &serde_json::Value) -> Result<PathBuf, String> {
    Settings::deserialize(settings).map(|settings| settings.path.0).map_err(|e| e.to_string())
}

impl Policy {
    /// Loads a model.
    pub fn open(path: &Path) -> Result<Self, String> {
        let checkpoint = Checkpoint::open(path).map_err(|e| e.to_string())?;
        let identity = checkpoint.identity().map_err(|e| e.to_string())?;
        let model = Arc::new(checkpoint.model().map_err(|e| e.to_string())?);
        let dialect = Dialect::open(path).map_err(|e| e.to_string())?;
        Ok(Policy { model, dialect, identity, adapters: Mutex::default() })
    }

    /// What its answers depend on: weights, tokenizer, template.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// An adapter by its folder. Folders are named by content, so one that was read stays valid.
    fn adapter(&self, folder: &str) -> Result<Arc<Adapter<f32>>, String> {
        let mut adapters = lock(&self.adapters);
        if let Some(adapter) = adapters.get(folder) {
            return Ok(Arc::clone(adapter));
        }
        let adapter = peft::load(Path::new(folder), &self.model.config).map_err(|e| e.to_string())?;
        let adapter = Arc::new(adapter);
        adapters.insert(folder.to_string(), Arc::clone(&adapter));
        Ok(adapter)
    }

    fn answer(&self, requests: &[&Request]) -> Result<Vec<Reply>, String> {
        let adapter = requests[0].adapter.as_deref().map(|folder| self.adapter(folder)).transpose()?;
        let mut jobs: Vec<(&[Message], Job)> = Vec::new();
        let mut places = Vec::new();
        for request in requests {
            let known = jobs.iter().position(|(messages, _)| *messages == request.messages);
            let job = match known {
                Some(job) => job,
                None => {
                    let prompt = self.dialect.prompt(&chat(&request.messages)).map_err(|e| e.to_string())?;
                    jobs.push((&request.messages, Job { prompt, samples: Vec::new() }));
                    jobs.len() - 1
                }
            };
            let samples = &mut jobs[job].1.samples;
            places.push((job, samples.len()));
            samples.push(sampling(request));
        }
        let jobs: Vec<Job> = jobs.into_iter().map(|(_, job)| job).collect();
        let stop = self.dialect.tokenizer.eos();
        let made = generate(&self.model, adapter.as_deref(), &jobs, stop).map_err(|e| e.to_string())?;
        places
            .into_iter()
            .map(|(job, sample)| {
                let tokens = &made[job][sample].tokens;
                let text = self.dialect.tokenizer.decode(tokens).map_err(|e| e.to_string())?;
                let (prompt_tokens, reply_tokens) = (jobs[job].prompt.len() as u32, tokens.len() as u32);
                Ok(Reply {
                    text: text.trim().to_string(),
                    prompt_tokens,
                    reply_tokens,
                    finished: made[job][sample].finished,
                })
            })
            .collect()
    }
}

fn sampling(request: &Request) -> Sampling {
    let wanted = &request.sampling;
    // Samples of one request differ by their index alone, whatever else runs beside them.
    let seed = wanted.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(u64::from(request.sample));
    Sampling {
        temperature: wanted.temperature,
        top_p: wanted.top_p,
        max_tokens: wanted.max_tokens as usize,
        seed: seed ^ content_hash(&request.messages),
    }
}

/// Different prompts draw different numbers.
fn content_hash(messages: &[Message]) -> u64 {
    let text: Vec<&str> = messages.iter().map(|m| m.content.as_str()).collect();
    u64::from_str_radix(&obvert_api::record::id_of(&text), 16).unwrap_or_default()
}

/// Messages as the chat template takes them.
pub(crate) fn chat(messages: &[Message]) -> Vec<load::Message> {
    messages.iter().map(|m| load::Message::new(m.role.clone(), m.content.clone())).collect()
}

/// A policy as a model of the engine.
struct Local(Arc<Policy>);

impl Model for Local {
    fn identity(&self) -> String {
        self.0.identity.clone()
    }

    fn batch(&self) -> usize {
        256
    }

    fn call(&self, requests: &[Request]) -> Vec<Result<Reply, String>> {
        let mut replies: Vec<Result<Reply, String>> = vec![Err("not answered".into()); requests.len()];
        let mut by_adapter: BTreeMap<Option<&str>, Vec<usize>> = BTreeMap::new();
        for (index, request) in requests.iter().enumerate() {
            by_adapter.entry(request.adapter.as_deref()).or_default().push(index);
        }
        for indices in by_adapter.values() {
            let group: Vec<&Request> = indices.iter().map(|index| &requests[*index]).collect();
            match self.0.answer(&group) {
                Ok(answers) => indices.iter().zip(answers).for_each(|(index, reply)| replies[*index] = Ok(reply)),
                // One request that cannot be answered (a prompt that is too long) must not cost the others theirs.
                Err(cause) if indices.len() == 1 => replies[indices[0]] = Err(cause),
                Err(_) => indices.iter().for_each(|&index| {
                    let alone = self.0.answer(&[&requests[index]]);
                    replies[index] = alone.and_then(|mut answers| answers.pop().ok_or_else(|| "no answer".into()));
                }),
            }
        }
        replies
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
