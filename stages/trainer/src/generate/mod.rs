//! Sampling text from a model, many sequences at once.
//!
//! A prompt is computed once for all its samples, and its keys and values are shared by them. All running sequences take
//! their next token together, so that the weights are read once for all of them; a finished sequence leaves and the next
//! one waiting takes its place. What a sequence gets depends on its prompt, its settings and its seed alone: every
//! operation of a step computes each row as it would compute it by itself.

mod attend;
mod cache;
mod factor;
mod product;
mod queue;
mod sample;
mod step;

use crate::config::Config;
use crate::error::Error;
use crate::lora::Adapter;
use crate::model::Model;
use queue::Queue;
use step::Decoder;

/// What the keys and values of all running sequences may take together (bytes), unless told otherwise.
pub const KV_BUDGET: usize = 2 << 30;

/// How one sample of a prompt is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// What logits are divided by; 0, or less than a millionth, takes the most likely token always.
    pub temperature: f32,
    /// Tokens are drawn from the smallest set of likeliest ones that holds this much probability, in (0, 1].
    pub top_p: f32,
    /// The sample ends after this many tokens, if it has not before.
    pub max_tokens: usize,
    /// Where this sample's random numbers begin.
    pub seed: u64,
}

/// A prompt and the samples wanted of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Token ids, at least one.
    pub prompt: Vec<u32>,
    /// One entry for every sample.
    pub samples: Vec<Sampling>,
}

/// One sample.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Generated {
    /// The tokens after the prompt, without the one that ended it.
    pub tokens: Vec<u32>,
    /// Whether a stop token ended it, rather than `max_tokens`.
    pub finished: bool,
}

/// A job's samples in their order, or why the model cannot take the job.
pub type Outcome = Result<Vec<Generated>, Error>;

/// Draws every sample of every job, in the order of the jobs; `stop` are the tokens that end one.
///
/// A job that cannot be taken (an unknown token, too long, senseless settings) has an error in its place, which names
/// it; the others go on.
///
/// # Errors
/// What concerns the model: an adapter that does not fit it, logits that are not finite.
pub fn generate(model: &Model, adapter: Option<&Adapter>, jobs: &[Job], stop: &[u32]) -> Result<Vec<Outcome>, Error> {
    generate_within(model, adapter, jobs, stop, KV_BUDGET)
}

/// As [`generate`], with a limit for the memory of keys and values (bytes). It decides how many sequences run at once,
/// not what they become; a job of which one sample alone would exceed it is refused.
///
/// # Errors
/// As [`generate`].
pub fn generate_within(
    model: &Model,
    adapter: Option<&Adapter>,
    jobs: &[Job],
    stop: &[u32],
    kv_budget: usize,
) -> Result<Vec<Outcome>, Error> {
    if let Some(adapter) = adapter {
        adapter.check(&model.config)?;
    }
    let check = |(index, job)| check(job, &model.config, kv_budget).map_err(|reason| refused(index, reason));
    let checked: Vec<Result<(), Error>> = jobs.iter().enumerate().map(check).collect();
    let accepted: Vec<usize> = (0..jobs.len()).filter(|job| checked[*job].is_ok()).collect();
    let positions = accepted.iter().map(|job| longest(&jobs[*job])).max().unwrap_or_default();
    let decoder = Decoder::new(model, adapter, positions);
    let mut queue = Queue::new(jobs, &accepted, stop, cache::bytes_per_token(&model.config), kv_budget);
    while queue.admit(&decoder)? {
        let logits = decoder.step(queue.running());
        queue.take(&logits)?;
    }
    Ok(checked.into_iter().zip(queue.into_results()).map(|(checked, samples)| checked.map(|()| samples)).collect())
}

/// Tokens of a job's prompt and its longest sample.
fn longest(job: &Job) -> usize {
    let most = job.samples.iter().map(|sample| sample.max_tokens).max();
    job.prompt.len().saturating_add(most.unwrap_or_default())
}

fn check(job: &Job, config: &Config, kv_budget: usize) -> Result<(), String> {
    if job.prompt.is_empty() {
        return Err("the prompt is empty".into());
    }
    let unknown = |token: &&u32| **token as usize >= config.vocab_size;
    if let Some(token) = job.prompt.iter().find(unknown) {
        return Err(format!("token {token} is not in the vocabulary of {}", config.vocab_size));
    }
    if longest(job) > config.max_positions {
        return Err(format!(
            "a prompt of {} tokens and an answer of {} exceed the model's {} positions",
            job.prompt.len(),
            longest(job) - job.prompt.len(),
            config.max_positions
        ));
    }
    let needed = longest(job).saturating_mul(cache::bytes_per_token(config));
    if needed > kv_budget {
        return Err(format!("one sample's keys and values take {needed} bytes, over the limit of {kv_budget}"));
    }
    job.samples.iter().try_for_each(check_sampling)
}

fn check_sampling(sampling: &Sampling) -> Result<(), String> {
    let Sampling { temperature, top_p, .. } = *sampling;
    if !(temperature.is_finite() && temperature >= 0.0) {
        return Err(format!("temperature {temperature} is not a number from 0 on"));
    }
    if !(top_p > 0.0 && top_p <= 1.0) {
        return Err(format!("top_p {top_p} is not in (0, 1]"));
    }
    Ok(())
}

fn refused(job: usize, reason: impl std::fmt::Display) -> Error {
    Error::field(&format!("job {job}"), reason)
}
