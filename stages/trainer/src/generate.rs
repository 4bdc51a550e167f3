//! Sampling from a model: all running sequences decode together, and a prompt is computed once for all its samples.

mod cache;
mod sample;

use crate::Error;
use crate::lora::Adapter;
use crate::model::Model;
use cache::{Decoder, Row};
use sample::Draws;

/// Bytes of keys and values that one wave of jobs may hold; a single larger job still runs, alone.
const WAVE_BYTES: usize = 1 << 30;
/// Prompt tokens computed at once: bounds the activations.
const PREFILL_ROWS: usize = 2048;

/// How one continuation is sampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// 0 takes the likeliest token.
    pub temperature: f32,
    /// Smallest set of tokens whose probability reaches this; 1 keeps all.
    pub top_p: f32,
    /// Longest continuation, in tokens.
    pub max_tokens: usize,
    /// The continuation's draws depend on nothing else.
    pub seed: u64,
}

/// A prompt and the continuations wanted of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Token ids, special ones included.
    pub prompt: Vec<u32>,
    /// One continuation each.
    pub samples: Vec<Sampling>,
}

/// One continuation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generated {
    /// Token ids, without the one that ended it.
    pub tokens: Vec<u32>,
    /// Ended by a stop token rather than by its limit.
    pub finished: bool,
}

/// Continues every job's prompt; results are in the order of the jobs and their samples.
///
/// # Errors
/// A prompt that is empty, has ids outside the vocabulary, or leaves no room for `max_tokens` in the model's context.
pub fn generate(
    model: &Model<f32>,
    adapter: Option<&Adapter<f32>>,
    jobs: &[Job],
    stop: &[u32],
) -> Result<Vec<Vec<Generated>>, Error> {
    jobs.iter().try_for_each(|job| check(model, job))?;
    let mut results = Vec::with_capacity(jobs.len());
    let mut rest = jobs;
    while !rest.is_empty() {
        let (wave, later) = rest.split_at(wave(model, rest));
        results.extend(Wave::new(model, adapter, wave, stop).run());
        rest = later;
    }
    Ok(results)
}

fn check(model: &Model<f32>, job: &Job) -> Result<(), Error> {
    let (limit, vocabulary) = (model.config.max_positions, model.config.vocab_size);
    let wanted = job
        .samples
        .iter()
        .map(|s| s.max_tokens)
        .max()
        .unwrap_or_default();
    let wrong = |reason: String| Err(Error::field("prompt", reason));
    match job
        .prompt
        .iter()
        .find(|token| **token as usize >= vocabulary)
    {
        _ if job.prompt.is_empty() => wrong("is empty".into()),
        Some(token) => wrong(format!(
            "holds token {token}, the vocabulary has {vocabulary}"
        )),
        None if job.prompt.len() + wanted > limit => wrong(format!(
            "has {} tokens, with max_tokens {wanted} more than the model's {limit}",
            job.prompt.len()
        )),
        None => Ok(()),
    }
}

/// How many of the jobs fit into one wave; at least one.
fn wave(model: &Model<f32>, jobs: &[Job]) -> usize {
    let config = &model.config;
    let per_token = config.layers * config.kv_heads * config.head_dim * 2 * size_of::<f32>();
    let mut bytes = 0;
    let fits = |job: &&Job| {
        let tokens = job.prompt.len() + job.samples.iter().map(|s| s.max_tokens).sum::<usize>();
        bytes += tokens * per_token;
        bytes <= WAVE_BYTES
    };
    jobs.iter().take_while(fits).count().max(1)
}

/// A continuation at work.
struct Sequence {
    job: usize,
    sampling: Sampling,
    draws: Draws,
    generated: Generated,
    /// Cleared when the sequence has ended.
    running: bool,
}

struct Wave<'a> {
    decoder: Decoder<'a>,
    jobs: &'a [Job],
    stop: &'a [u32],
    sequences: Vec<Sequence>,
}

impl<'a> Wave<'a> {
    fn new(
        model: &'a Model<f32>,
        adapter: Option<&'a Adapter<f32>>,
        jobs: &'a [Job],
        stop: &'a [u32],
    ) -> Self {
        let of_job = |(job, wanted): (usize, &'a Job)| {
            wanted.samples.iter().map(move |&sampling| Sequence {
                job,
                sampling,
                draws: Draws::new(sampling.seed),
                generated: Generated::default(),
                running: sampling.max_tokens > 0,
            })
        };
        let sequences: Vec<Sequence> = jobs.iter().enumerate().flat_map(of_job).collect();
        let longest = jobs
            .iter()
            .map(|j| j.prompt.len() + j.samples.iter().map(|s| s.max_tokens).max().unwrap_or(0));
        let decoder = Decoder::new(
            model,
            adapter,
            jobs.len(),
            sequences.len(),
            longest.max().unwrap_or_default(),
        );
        Wave {
            decoder,
            jobs,
            stop,
            sequences,
        }
    }

    fn run(mut self) -> Vec<Vec<Generated>> {
        self.prefill();
        while self.sequences.iter().any(|sequence| sequence.running) {
            self.step();
        }
        let mut results: Vec<Vec<Generated>> = self.jobs.iter().map(|_| Vec::new()).collect();
        for sequence in self.sequences {
            results[sequence.job].push(sequence.generated);
        }
        results
    }

    /// Computes the prompts, several at a time, and draws every sequence's first token.
    fn prefill(&mut self) {
        let mut rows: Vec<Row> = Vec::new();
        let mut ends: Vec<(usize, usize)> = Vec::new();
        for job in 0..self.jobs.len() {
            let prompt = &self.jobs[job].prompt;
            rows.extend(prompt.iter().enumerate().map(|(position, &token)| Row {
                token,
                position,
                job,
                sequence: None,
            }));
            ends.push((job, rows.len() - 1));
            if rows.len() >= PREFILL_ROWS || job + 1 == self.jobs.len() {
                let wanted: Vec<usize> = ends.iter().map(|(_, row)| *row).collect();
                let logits = self.decoder.logits(&rows, &wanted);
                for ((job, _), logits) in ends
                    .iter()
                    .zip(logits.chunks_exact(self.decoder.vocabulary()))
                {
                    let of_job = self
                        .sequences
                        .iter_mut()
                        .filter(|s| s.job == *job && s.running);
                    of_job.for_each(|sequence| sequence.draw(logits, self.stop));
                }
                rows.clear();
                ends.clear();
            }
        }
    }

    /// One token for every running sequence.
    fn step(&mut self) {
        let running: Vec<usize> = (0..self.sequences.len())
            .filter(|i| self.sequences[*i].running)
            .collect();
        let row = |&index: &usize| {
            let Sequence { job, generated, .. } = &self.sequences[index];
            let position = self.jobs[*job].prompt.len() + generated.tokens.len() - 1;
            let token = generated.tokens.last().copied().unwrap_or_default();
            Row {
                token,
                position,
                job: *job,
                sequence: Some(index),
            }
        };
        let rows: Vec<Row> = running.iter().map(row).collect();
        let wanted: Vec<usize> = (0..rows.len()).collect();
        let logits = self.decoder.logits(&rows, &wanted);
        for (index, logits) in running
            .iter()
            .zip(logits.chunks_exact(self.decoder.vocabulary()))
        {
            self.sequences[*index].draw(logits, self.stop);
            if !self.sequences[*index].running {
                self.decoder.forget(*index);
            }
        }
    }
}

impl Sequence {
    fn draw(&mut self, logits: &[f32], stop: &[u32]) {
        let token = self.draws.token(logits, &self.sampling);
        if stop.contains(&token) {
            (self.generated.finished, self.running) = (true, false);
            return;
        }
        self.generated.tokens.push(token);
        self.running = self.generated.tokens.len() < self.sampling.max_tokens;
    }
}
