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

/// Prints the plan.
pub fn memory(arguments: &Arguments) -> anyhow::Result<()> {
    let (checkpoint, adapter) = arguments.model.look()?;
    let (rank, targets) =
        adapter.map_or((arguments.rank, Projection::ALL.to_vec()), |adapter| (adapter.rank, adapter.targets()));
    let planned = Planned {
        config: &checkpoint.config,
        adapter: (rank, &targets),
        micro_tokens: arguments.micro_tokens,
        activations: arguments.activations,
    };
    println!("{}", MemoryPlan::of_checkpoint::<bf16>(&checkpoint, planned));
    Ok(())
}

/// Prints what training will take, and refuses it where it does not fit; of a GPU only.
pub fn check(checkpoint: &Checkpoint, adapter: (usize, &[Projection]), settings: &TrainSettings) -> anyhow::Result<()> {
    let Place::Cuda(_) = settings.device.found() else { return Ok(()) };
    let TrainSettings { micro_tokens, activations, .. } = *settings;
    let planned = Planned { config: &checkpoint.config, adapter, micro_tokens, activations };
    let plan = MemoryPlan::of_checkpoint::<bf16>(checkpoint, planned);
    let free = settings.device.free_memory()?;
    eprintln!("memory of {}:\n{plan}", settings.device.found());
    Ok(plan.check(free)?)
}
