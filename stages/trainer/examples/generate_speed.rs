//! Prints the speed of sampling from a model: JOBS random prompts of PROMPT tokens, SAMPLES answers of ANSWER tokens each.
//!
//! `cargo run --release -p obvert-trainer --example generate_speed -- MODEL [JOBS SAMPLES PROMPT ANSWER]`

use std::path::Path;
use std::time::Instant;

use obvert_trainer::generate::{Job, Sampling, generate};
use obvert_trainer::load::Checkpoint;
use obvert_trainer::{Adapter, Error, LoraSettings};

/// Token ids below `vocab` from a linear congruential generator.
fn tokens(count: usize, vocab: usize, seed: &mut u64) -> Vec<u32> {
    let mut next = || {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 33) as usize % vocab
    };
    (0..count).map(|_| next() as u32).collect()
}

fn main() -> Result<(), Error> {
    let path = std::env::args().nth(1).ok_or_else(|| Error::field("MODEL", "give a folder or a GGUF file"))?;
    let number = |at: usize, default| std::env::args().nth(at).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (jobs, samples, prompt, answer) = (number(2, 51), number(3, 5), number(4, 150), number(5, 40));
    let model = Checkpoint::open(Path::new(&path))?.model()?;
    let adapter = Adapter::new(&model.config, &LoraSettings::default(), 1)?;
    let mut seed = 1;
    let mut job = |job: usize| Job {
        prompt: tokens(prompt, model.config.vocab_size, &mut seed),
        samples: (0..samples)
            .map(|sample| Sampling {
                temperature: 1.0,
                top_p: 1.0,
                max_tokens: answer,
                seed: (job * samples + sample) as u64,
            })
            .collect(),
    };
    let jobs: Vec<Job> = (0..jobs).map(&mut job).collect();
    for adapter in [None, Some(&adapter)] {
        let start = Instant::now();
        let made = generate(&model, adapter, &jobs, &[])?.into_iter().collect::<Result<Vec<_>, _>>()?;
        let seconds = start.elapsed().as_secs_f64();
        let written: usize = made.iter().flatten().map(|sample| sample.tokens.len()).sum();
        let sum = made
            .iter()
            .flatten()
            .flat_map(|sample| &sample.tokens)
            .fold(0_u32, |sum, id| sum.wrapping_mul(31).wrapping_add(*id));
        let name = if adapter.is_some() { "with" } else { "without" };
        println!(
            "{name} an adapter: {seconds:.2} s, {:.0} tokens/s read and written, {:.0} written (checksum {sum:08x})",
            (jobs.len() * prompt + written) as f64 / seconds,
            written as f64 / seconds
        );
    }
    Ok(())
}
