//! Prints the speed of whole optimizer steps on a GPU, as one line of JSON: a model of random weights, an adapter of rank
//! 16 on all seven projections, pairs of random tokens, their log-probs under the reference given.
//!
//! `cargo run --release -p obvert-trainer --features cuda --example gpu_step -- [--model llama-3.1-8b] [--pairs 16]
//! [--prompt 1024] [--response 256] [--micro-tokens 24576] [--warmup 1] [--steps 5] [--ceiling TFLOPS] [--recompute] [--name NAME]
//! [--device cuda:0] [--tiny]`
//!
//! `--ceiling` is what large products reach on the machine; `--tiny` runs a small shape on the CPU.

mod random;
mod work;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use obvert_trainer::place::Place;
use obvert_trainer::schedule::Schedule;
use obvert_trainer::settings::Activations;
use obvert_trainer::{
    Adapter, Config, Error, LoraSettings, Projection, ResponseLogps, TokenPair, TrainSettings, Trainer,
};
use serde_json::{Value, json};

use work::Work;

const MODELS: &str = include_str!("../../../../benches/gpu/models.json");
const RANK: usize = 16;

/// What is measured.
struct Options {
    name: String,
    model: String,
    work: Work,
    micro_tokens: usize,
    activations: Activations,
    device: Place,
    warmup: usize,
    steps: usize,
    /// FLOP/s.
    ceiling: Option<f64>,
}

fn main() -> Result<(), Error> {
    let options = Options::read()?;
    let config = config(&options.model)?;
    let start = Instant::now();
    let (mut trainer, pairs) = (trainer(&config, &options)?, options.work.pairs(config.vocab_size));
    eprintln!("the model is in place after {:.1} s", start.elapsed().as_secs_f64());
    let reference = vec![ResponseLogps::default(); pairs.len()];
    let mut seconds = Vec::new();
    for _ in 0..options.warmup + options.steps {
        seconds.push(step(&mut trainer, &pairs, &reference)?);
    }
    let median = median(seconds.split_off(options.warmup));
    println!("{}", options.line(&config, median));
    Ok(())
}

/// Seconds of one step.
fn step(trainer: &mut Trainer, pairs: &[TokenPair], reference: &[ResponseLogps]) -> Result<f64, Error> {
    let start = Instant::now();
    let metrics = trainer.step(pairs, reference)?;
    let seconds = start.elapsed().as_secs_f64();
    eprintln!("step {}: {seconds:.3} s, loss {:.4}, norm {:.3e}", metrics.step, metrics.batch.loss, metrics.grad_norm);
    Ok(seconds)
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn config(name: &str) -> Result<Config, Error> {
    let models: Value = serde_json::from_str(MODELS).map_err(|error| Error::field("models.json", error.to_string()))?;
    let known = || Error::field("--model", format!("{name} is none of those in benches/gpu/models.json"));
    Config::from_json(models.get(name).ok_or_else(known)?)
}

fn trainer(config: &Config, options: &Options) -> Result<Trainer, Error> {
    let lora = LoraSettings { rank: RANK, alpha: 2.0 * RANK as f64, targets: Projection::ALL.to_vec() };
    let adapter = Adapter::new(config, &lora, 1)?;
    let settings = TrainSettings {
        lr: 1e-4,
        schedule: Schedule::Constant,
        micro_tokens: options.micro_tokens,
        activations: options.activations,
        device: options.device,
        ..TrainSettings::default()
    };
    let model = Arc::new(random::model(config.clone()));
    Trainer::placed(model, settings, adapter)
}

impl Options {
    fn read() -> Result<Self, Error> {
        let tiny = flag("--tiny");
        let sizes = if tiny { [4, 32, 8] } else { [16, 1_024, 256] };
        let [pairs, prompt, response] = sizes;
        let recompute = flag("--recompute");
        Ok(Self {
            name: value("--name", "obvert".to_owned())?,
            model: value("--model", if tiny { "tiny" } else { "llama-3.1-8b" }.to_owned())?,
            work: Work {
                pairs: value("--pairs", pairs)?,
                prompt: value("--prompt", prompt)?,
                response: value("--response", response)?,
                rank: RANK,
            },
            micro_tokens: value("--micro-tokens", 24_576)?,
            activations: if recompute { Activations::Recompute } else { Activations::Keep },
            device: value("--device", if tiny { Place::Cpu } else { Place::Cuda(0) })?,
            warmup: value("--warmup", 1)?,
            steps: value("--steps", 5_usize)?.max(1),
            ceiling: flag("--ceiling").then(|| value("--ceiling", 0.0)).transpose()?.map(|tera: f64| 1e12 * tera),
        })
    }

    fn line(&self, config: &Config, seconds: f64) -> Value {
        let (work, flops) = (&self.work, self.work.flops(config));
        let total: f64 = flops.iter().map(|(_, flops)| flops).sum();
        let floor = self.ceiling.map(|ceiling| total / ceiling);
        json!({
            "step": self.name, "model": self.model, "device": self.device.to_string(),
            "pairs": work.pairs, "prompt": work.prompt, "response": work.response, "rank": work.rank,
            "micro_tokens": self.micro_tokens, "activations": self.activations,
            "seconds_per_step": seconds,
            "tokens_per_s": work.tokens() as f64 / seconds,
            "packed_tokens_per_s": work.rows() as f64 / seconds,
            "tflop": total / 1e12,
            "tflop_of": flops.map(|(name, flops)| (name, flops / 1e12)).into_iter().collect::<BTreeMap<_, _>>(),
            "tflop_per_s": total / seconds / 1e12,
            "floor_seconds": floor, "share_of_floor": floor.map(|floor| floor / seconds),
            "card_memory_gb": card_memory(),
        })
    }
}

fn flag(name: &str) -> bool {
    std::env::args().any(|argument| argument == name)
}

/// The value after a name.
fn value<T: std::str::FromStr>(name: &str, default: T) -> Result<T, Error> {
    let Some(text) = std::env::args().skip_while(|argument| argument != name).nth(1) else { return Ok(default) };
    text.parse().map_err(|_| Error::field(name, format!("{text:?} is not understood")))
}

/// What is taken of the card's memory, in 10⁹ bytes: it is not given back between steps, so this is the most.
fn card_memory() -> Option<f64> {
    let asked = ["--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"];
    let out = Command::new("nvidia-smi").args(asked).output().ok()?;
    let mebibytes: f64 = String::from_utf8(out.stdout).ok()?.trim().parse().ok()?;
    Some(mebibytes * 1024.0 * 1024.0 / 1e9)
}
