//! `memory`: what training takes of a GPU's memory, without a GPU and before anything is loaded.

use half::bf16;
use obvert_trainer::LoraSettings;
use obvert_trainer::Projection;
use obvert_trainer::device::{MemoryPlan, Planned};
use obvert_trainer::load::Checkpoint;
use obvert_trainer::place::Place;
use obvert_trainer::settings::{Activations, MICRO_TOKENS, TrainSettings};

use super::model::{ModelArguments, named};

/// Arguments of `memory`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Rank of a new adapter.
    #[arg(long, default_value_t = LoraSettings::default().rank)]
    rank: usize,
    /// Packed tokens of a pass.
    #[arg(long, default_value_t = MICRO_TOKENS)]
    micro_tokens: usize,
    /// A pass's activations: keep or recompute.
    #[arg(long, value_parser = named::<Activations>, default_value = "keep")]
    activations: Activations,
}

/// Prints the plan, and refuses it where the device is a GPU that it does not fit.
pub fn memory(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { rank, micro_tokens, activations, .. } = *arguments;
    let settings =
        TrainSettings { micro_tokens, activations, device: arguments.model.device, ..TrainSettings::default() };
    settings.check()?;
    let (checkpoint, adapter) = arguments.model.look()?;
    let new = LoraSettings { rank, ..LoraSettings::default() };
    new.check()?;
    let (rank, targets) = adapter.map_or((rank, new.targets), |adapter| (adapter.rank, adapter.targets()));
    let plan = plan(&checkpoint, (rank, &targets), &settings);
    println!("{plan}");
    Ok(plan.check(settings.device.free_memory()?)?)
}

/// Prints what training will take, and refuses it where it does not fit; of a GPU only.
pub fn check(checkpoint: &Checkpoint, adapter: (usize, &[Projection]), settings: &TrainSettings) -> anyhow::Result<()> {
    let place = settings.device.found();
    let Place::Cuda(_) = place else { return Ok(()) };
    let (plan, free) = (plan(checkpoint, adapter, settings), place.free_memory()?);
    eprintln!("memory of {place}:\n{plan}");
    Ok(plan.check(free)?)
}

fn plan(checkpoint: &Checkpoint, adapter: (usize, &[Projection]), settings: &TrainSettings) -> MemoryPlan {
    let TrainSettings { micro_tokens, activations, .. } = *settings;
    let planned = Planned { config: &checkpoint.config, adapter, micro_tokens, activations };
    MemoryPlan::of_checkpoint::<bf16>(checkpoint, planned)
}
