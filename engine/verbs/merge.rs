//! `merge`: a model and its adapter as one Hugging Face folder.

use std::path::PathBuf;

use obvert_trainer::load::Checkpoint;
use obvert_trainer::merge::{self, WeightType};
use obvert_trainer::peft;

/// Arguments of `merge`.
#[derive(clap::Args)]
pub struct Arguments {
    /// A Hugging Face folder or a GGUF file.
    #[arg(long)]
    model: PathBuf,
    /// A PEFT folder.
    #[arg(long)]
    adapter: PathBuf,
    /// How weights are written: f32, f16 or bf16.
    #[arg(long, default_value = "f32")]
    dtype: WeightType,
    /// The folder to write, which must be new or empty.
    #[arg(long)]
    out: PathBuf,
}

/// Writes base plus adapter.
pub fn merge(arguments: &Arguments) -> anyhow::Result<()> {
    let checkpoint = Checkpoint::open(&arguments.model)?;
    let adapter = peft::load(&arguments.adapter, &checkpoint.config)?;
    for reason in merge::merge(&checkpoint, &adapter, &arguments.out, arguments.dtype)? {
        eprintln!("warning: left out {reason}");
    }
    println!("model in {}", arguments.out.display());
    Ok(())
}
