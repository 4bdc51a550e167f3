//! Prints the speed of sampling from a model as one line of JSON: a prompt read and one answer written, sixteen prompts'
//! answers written side by side, and five answers to one prompt against one. Nothing ends an answer early.
//!
//! `cargo run --release -p obvert-trainer --example generate_speed -- MODEL [PROMPT ANSWER [f32|bf16]]`

use std::path::Path;
use std::time::Instant;

use obvert_trainer::generate::{Job, Sampling, generate};
use obvert_trainer::load::Checkpoint;
use obvert_trainer::random::SplitMix64;
use obvert_trainer::{Error, Model, Storage};

/// Prompts of random tokens, each with the same number of answers.
struct Work {
    prompts: usize,
    samples: usize,
    prompt: usize,
    answer: usize,
}

impl Work {
    fn jobs(&self, vocab: usize) -> Vec<Job> {
        let job = |job: usize| {
            let mut random = SplitMix64::stream(1, job as u64);
            let sampling = |seed| Sampling { temperature: 1.0, top_p: 1.0, max_tokens: self.answer, seed };
            Job {
                prompt: (0..self.prompt).map(|_| random.below(vocab) as u32).collect(),
                samples: (0..self.samples as u64).map(sampling).collect(),
            }
        };
        (0..self.prompts).map(job).collect()
    }

    /// Seconds until all answers are written.
    fn seconds(&self, model: &Model) -> Result<f64, Error> {
        let jobs = self.jobs(model.config.vocab_size);
        let start = Instant::now();
        let made = generate(model, None, &jobs, &[])?.into_iter().collect::<Result<Vec<_>, _>>()?;
        let seconds = start.elapsed().as_secs_f64();
        assert!(made.iter().flatten().all(|sample| sample.tokens.len() == self.answer));
        Ok(seconds)
    }
}

fn main() -> Result<(), Error> {
    let text = |at: usize| std::env::args().nth(at);
    let path = text(1).ok_or_else(|| Error::field("MODEL", "give a folder or a GGUF file"))?;
    let number = |at: usize, default| text(at).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (prompt, answer) = (number(2, 512), number(3, 64));
    let storage = if text(4).as_deref() == Some("bf16") { Storage::Bf16 } else { Storage::F32 };
    let model = Checkpoint::open(Path::new(&path))?.stored(storage).model()?;
    let time = |prompts, samples, answer| Work { prompts, samples, prompt, answer }.seconds(&model);
    time(1, 1, 2)?;
    // The first token comes with the prompt: the others' time is the difference.
    let written = (answer - 1) as f64;
    let (read, one, five) = (time(1, 1, 1)?, time(1, 1, answer)?, time(1, 5, answer)?);
    let (read_sixteen, sixteen) = (time(16, 1, 1)?, time(16, 1, answer)?);
    let (single, batch) = (written / (one - read), 16.0 * written / (sixteen - read_sixteen));
    println!(
        r#"{{"prefill_tps": {:.1}, "decode_tps": {single:.1}, "batch16_decode_tps": {batch:.1}, "batch16_ratio": {:.2}, "five_to_one": {:.2}}}"#,
        prompt as f64 / read,
        batch / single,
        five / one
    );
    Ok(())
}
