//! Which samples run, which wait, what has come of them.

use std::collections::VecDeque;
use std::sync::Arc;

use super::cache::{Prefix, Suffix};
use super::sample::Sampler;
use super::step::Decoder;
use super::{Generated, Job, refused};
use crate::error::Error;

/// A sequence in the making. It has at least one token.
pub(super) struct Running {
    pub(super) job: usize,
    sample: usize,
    pub(super) prefix: Arc<Prefix>,
    pub(super) suffix: Suffix,
    tokens: Vec<u32>,
    max_tokens: usize,
    sampler: Sampler,
}

impl Running {
    /// The newest token, not yet in the cache.
    pub(super) fn last(&self) -> u32 {
        self.tokens.last().copied().unwrap_or_default()
    }

    /// The newest token's position in the sequence, from 0.
    pub(super) fn position(&self) -> usize {
        self.prefix.tokens + self.tokens.len() - 1
    }
}

/// The prompt that was read last, and the logits after it: its samples start from them.
struct Opened {
    job: usize,
    prefix: Arc<Prefix>,
    logits: Vec<f32>,
}

/// All samples of a call.
pub(super) struct Queue<'a> {
    jobs: &'a [Job],
    stop: &'a [u32],
    /// (job, sample), in order.
    waiting: VecDeque<(usize, usize)>,
    opened: Option<Opened>,
    running: Vec<Running>,
    results: Vec<Vec<Generated>>,
    token_bytes: usize,
    budget: usize,
}

impl<'a> Queue<'a> {
    /// `accepted` are the places of the jobs that are to be done.
    pub(super) fn new(jobs: &'a [Job], accepted: &[usize], stop: &'a [u32], token_bytes: usize, budget: usize) -> Self {
        let samples = |job: &usize| (0..jobs[*job].samples.len()).map(|sample| (*job, sample)).collect::<Vec<_>>();
        Self {
            jobs,
            stop,
            waiting: accepted.iter().flat_map(samples).collect(),
            opened: None,
            running: Vec::new(),
            results: jobs.iter().map(|job| vec![Generated::default(); job.samples.len()]).collect(),
            token_bytes,
            budget,
        }
    }

    pub(super) fn running(&mut self) -> &mut [Running] {
        &mut self.running
    }

    pub(super) fn into_results(self) -> Vec<Vec<Generated>> {
        self.results
    }

    /// Starts waiting samples while their keys and values, at full length, fit the budget. False when none runs any more.
    pub(super) fn admit(&mut self, decoder: &Decoder<'_>) -> Result<bool, Error> {
        while let Some(&(job, sample)) = self.waiting.front() {
            if self.opened.as_ref().is_some_and(|opened| opened.job != job) {
                self.opened = None;
            }
            if self.bytes_with(job, sample) > self.budget {
                break;
            }
            self.waiting.pop_front();
            self.start(job, sample, decoder)?;
        }
        if self.waiting.is_empty() {
            self.opened = None;
        }
        Ok(!self.running.is_empty())
    }

    /// Bytes that the running sequences may come to take, with one more sample beside them. Prompts count once.
    fn bytes_with(&self, job: usize, sample: usize) -> usize {
        let prompts = self.running.chunk_by(|a, b| a.job == b.job).filter_map(|samples| samples.first());
        let prompts: usize = prompts.filter(|other| other.job != job).map(|other| other.prefix.tokens).sum();
        let written: usize = self.running.iter().map(|sequence| sequence.max_tokens).sum();
        let (prompt, own) = (self.jobs[job].prompt.len(), self.jobs[job].samples[sample].max_tokens);
        (prompts + prompt + written).saturating_add(own).saturating_mul(self.token_bytes)
    }

    fn start(&mut self, job: usize, sample: usize, decoder: &Decoder<'_>) -> Result<(), Error> {
        let sampling = &self.jobs[job].samples[sample];
        if sampling.max_tokens == 0 {
            return Ok(());
        }
        let opened = self.opened.get_or_insert_with(|| {
            let (prefix, logits) = decoder.read(&self.jobs[job].prompt);
            Opened { job, prefix: Arc::new(prefix), logits }
        });
        let mut sequence = Running {
            job,
            sample,
            prefix: Arc::clone(&opened.prefix),
            suffix: decoder.empty_suffix(),
            tokens: Vec::new(),
            max_tokens: sampling.max_tokens,
            sampler: Sampler::new(sampling),
        };
        match sequence.take(&opened.logits, self.stop)? {
            Some(generated) => self.results[job][sample] = generated,
            None => self.running.push(sequence),
        }
        Ok(())
    }

    /// Gives every running sequence its next token, by its row of the logits `[running, vocab]`.
    pub(super) fn take(&mut self, logits: &[f32]) -> Result<(), Error> {
        let vocab = logits.len() / self.running.len().max(1);
        let mut left = Vec::with_capacity(self.running.len());
        for (mut sequence, logits) in self.running.drain(..).zip(logits.chunks_exact(vocab)) {
            match sequence.take(logits, self.stop)? {
                Some(generated) => self.results[sequence.job][sequence.sample] = generated,
                None => left.push(sequence),
            }
        }
        self.running = left;
        Ok(())
    }
}

impl Running {
    /// Draws the next token. The result, if this ends the sequence.
    fn take(&mut self, logits: &[f32], stop: &[u32]) -> Result<Option<Generated>, Error> {
        let token = self.sampler.draw(logits).ok_or_else(|| refused(self.job, "the model's logits are not finite"))?;
        let finished = stop.contains(&token);
        if !finished {
            self.tokens.push(token);
        }
        let ended = finished || self.tokens.len() == self.max_tokens;
        Ok(ended.then(|| Generated { tokens: std::mem::take(&mut self.tokens), finished }))
    }
}
