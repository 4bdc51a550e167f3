//! Which samples run, which wait, what has come of them.

use std::collections::VecDeque;
use std::sync::Arc;

use rayon::prelude::*;

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

/// Tokens of prompts that are read together, unless one alone has more.
const READ: usize = 2_048;

/// A prompt that was read, and the logits after it: its samples start from them.
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
    /// Prompts of which samples are about to start, in the order of the jobs.
    opened: Vec<Opened>,
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
            opened: Vec::new(),
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
        loop {
            let admitted = self.next();
            if admitted.is_empty() {
                return Ok(!self.running.is_empty());
            }
            self.open(&admitted, decoder);
            for (job, sample) in admitted {
                self.start(job, sample, decoder)?;
            }
            let next = self.waiting.front().map(|(job, _)| *job);
            self.opened.retain(|opened| Some(opened.job) == next);
        }
    }

    /// Takes the samples from the queue that may start now and whose prompts are read together. Prompts count once.
    fn next(&mut self) -> Vec<(usize, usize)> {
        let room = self.budget / self.token_bytes;
        let mut used = self.committed();
        let mut last = self.running.last().map(|sequence| sequence.job);
        let (mut read, mut admitted) = (0, Vec::new());
        while let Some(&(job, sample)) = self.waiting.front() {
            let prompt = if last == Some(job) { 0 } else { self.jobs[job].prompt.len() };
            used += prompt + self.jobs[job].samples[sample].max_tokens;
            read += prompt;
            if used > room || (read > READ && !admitted.is_empty()) {
                break;
            }
            last = Some(job);
            admitted.extend(self.waiting.pop_front());
        }
        admitted
    }

    /// Tokens that the running sequences may come to hold.
    fn committed(&self) -> usize {
        let prompts = self.running.chunk_by(|a, b| a.job == b.job).filter_map(|samples| samples.first());
        let prompts: usize = prompts.map(|sequence| sequence.prefix.tokens).sum();
        prompts + self.running.iter().map(|sequence| sequence.max_tokens).sum::<usize>()
    }

    /// Reads the prompts of samples that are about to start.
    fn open(&mut self, admitted: &[(usize, usize)], decoder: &Decoder<'_>) {
        let writes = |(job, sample): &&(usize, usize)| self.jobs[*job].samples[*sample].max_tokens > 0;
        let mut jobs: Vec<usize> = admitted.iter().filter(writes).map(|(job, _)| *job).collect();
        jobs.dedup();
        jobs.retain(|job| self.opened.iter().all(|opened| opened.job != *job));
        let prompts: Vec<&[u32]> = jobs.iter().map(|job| self.jobs[*job].prompt.as_slice()).collect();
        for (job, (prefix, logits)) in jobs.into_iter().zip(decoder.read(&prompts)) {
            self.opened.push(Opened { job, prefix: Arc::new(prefix), logits });
        }
    }

    fn start(&mut self, job: usize, sample: usize, decoder: &Decoder<'_>) -> Result<(), Error> {
        let sampling = &self.jobs[job].samples[sample];
        let Some(opened) = self.opened.iter().find(|opened| opened.job == job && sampling.max_tokens > 0) else {
            return Ok(());
        };
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
        let stop = self.stop;
        let drawn = self.running.par_iter_mut().zip(logits.par_chunks_exact(vocab));
        let ended: Vec<_> = drawn.map(|(sequence, logits)| sequence.take(logits, stop)).collect();
        let mut left = Vec::with_capacity(self.running.len());
        for (sequence, ended) in self.running.drain(..).zip(ended) {
            match ended? {
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
