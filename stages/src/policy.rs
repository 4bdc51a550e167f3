//! `kind = "local"`: models that run in this process, loaded once and shared by sampling and training.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use obvert_api::record::{Message, hash_of};
use obvert_api::{PathSetting, Reply, Request};
use obvert_engine::Registry;
use obvert_engine::model::{Failure, Model, Then};
use obvert_trainer::generate::{Job, Outcome, Sampling, generate};
use obvert_trainer::load::{self, Checkpoint, Dialect};
use obvert_trainer::{Adapter, Storage, peft};
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of `kind = "local"`.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// A Hugging Face folder or a GGUF file.
    pub(crate) path: PathSetting,
    /// How the weights are kept in memory: `f32`; `bf16`, which rounds them and takes half; or `file`, as the
    /// file has them: exact, and least for quantised ones.
    #[serde(default)]
    storage: Storage,
}

/// Adapters that are kept in memory; with more of them all are read again.
const KEPT: usize = 8;

/// A loaded model with its tokenizer and chat template.
pub struct Policy {
    /// The frozen weights.
    pub model: Arc<obvert_trainer::Model<f32>>,
    /// How it is spoken to.
    pub dialect: Dialect,
    identity: String,
    adapters: Mutex<HashMap<String, Arc<Adapter<f32>>>>,
}

/// The models of this process by path, and by whether they are rounded.
#[derive(Clone, Default)]
pub struct Shelf(Arc<Mutex<Models>>);

type Models = BTreeMap<(PathBuf, Storage), Arc<Policy>>;

impl Shelf {
    /// The model of some settings; loaded when it is first asked for.
    pub(crate) fn get(&self, settings: &Settings) -> Result<Arc<Policy>, String> {
        let mut shelf = lock(&self.0);
        let key = (settings.path.0.clone(), settings.storage);
        if let Some(policy) = shelf.get(&key) {
            return Ok(Arc::clone(policy));
        }
        let policy = Arc::new(Policy::open(&settings.path.0, settings.storage)?);
        shelf.insert(key, Arc::clone(&policy));
        Ok(policy)
    }
}

/// Adds the model kind `local`.
pub(crate) fn register(registry: &mut Registry, shelf: &Shelf) {
    let shelf = shelf.clone();
    let check = |settings: &serde_json::Value| {
        let path = settings_of(settings)?.path.0;
        Checkpoint::open(&path).and_then(|_| Dialect::open(&path)).map(drop).map_err(|e| e.to_string())
    };
    let open =
        move |settings: &serde_json::Value| Ok(Arc::new(Local(shelf.get(&settings_of(settings)?)?)) as Arc<dyn Model>);
    registry.add_model("local", schemars::schema_for!(Settings).to_value(), Arc::new(check), Arc::new(open));
}

/// The settings of a `[model.NAME]` of kind `local`.
pub(crate) fn settings_of(settings: &serde_json::Value) -> Result<Settings, String> {
    Settings::deserialize(settings).map_err(|e| e.to_string())
}

impl Policy {
    /// Loads a model.
    pub fn open(path: &Path, storage: Storage) -> Result<Self, String> {
        let checkpoint = Checkpoint::open(path).map_err(|e| e.to_string())?.stored(storage);
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
        if adapters.len() == KEPT {
            adapters.clear();
        }
        adapters.insert(folder.to_string(), Arc::clone(&adapter));
        Ok(adapter)
    }

    /// Answers requests for one adapter. Samples of the same prompt are one job: the prompt is computed once for them.
    fn answer(&self, adapter: Option<&str>, requests: &[Request]) -> Result<Vec<Result<Reply, String>>, String> {
        let adapter = adapter.map(|folder| self.adapter(folder)).transpose()?;
        let mut jobs: Vec<(&[Message], Result<Job, String>)> = Vec::new();
        let mut places = Vec::new();
        for request in requests {
            let known = jobs.iter().position(|(messages, _)| *messages == request.messages);
            let job = known.unwrap_or(jobs.len());
            if known.is_none() {
                jobs.push((&request.messages, self.job(&request.messages)));
            }
            let place = jobs[job].1.as_mut().map(|job| {
                job.samples.push(sampling(request));
                job.samples.len() - 1
            });
            places.push(place.map(|sample| (job, sample)).map_err(|cause| cause.clone()));
        }
        let (wanted, jobs): (Vec<usize>, Vec<Job>) =
            jobs.into_iter().enumerate().filter_map(|(index, (_, job))| Some((index, job.ok()?))).unzip();
        let stop = self.dialect.stop();
        let made = generate(&self.model, adapter.as_deref(), &jobs, stop).map_err(|e| e.to_string())?;
        let made: HashMap<usize, _> = wanted.into_iter().zip(jobs.iter().zip(made)).collect();
        Ok(places.into_iter().map(|place| self.reply(&made, place?)).collect())
    }

    fn job(&self, messages: &[Message]) -> Result<Job, String> {
        let prompt = self.dialect.prompt(&chat(messages)).map_err(|e| e.to_string())?;
        Ok(Job { prompt, samples: Vec::new() })
    }

    /// The reply at a place (job, sample) among what was made.
    fn reply(&self, made: &HashMap<usize, (&Job, Outcome)>, (job, sample): (usize, usize)) -> Result<Reply, String> {
        let (job, outcome) = made.get(&job).ok_or("the job was not run")?;
        let made = outcome.as_ref().map_err(ToString::to_string)?.get(sample).ok_or("the sample was not drawn")?;
        let text = self.dialect.tokenizer.decode(&made.tokens).map_err(|e| e.to_string())?;
        Ok(Reply {
            text: text.trim().to_string(),
            prompt_tokens: job.prompt.len() as u32,
            reply_tokens: made.tokens.len() as u32,
            finished: made.finished,
        })
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
    hash_of(&text)
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

    /// A batch is of one adapter: several would be several batches, and smaller ones.
    fn joins(&self, first: &Request, next: &Request) -> bool {
        first.adapter == next.adapter
    }

    fn call(&self, requests: &[Request], _: Option<Duration>) -> Vec<Result<Reply, Failure>> {
        let adapter = requests.first().and_then(|request| request.adapter.as_deref());
        let answers = self.0.answer(adapter, requests).unwrap_or_else(|cause| vec![Err(cause); requests.len()]);
        // What is wrong with a prompt or an adapter is so the next time too.
        answers.into_iter().map(|reply| reply.map_err(|cause| Failure::new(cause, Then::Leave))).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
