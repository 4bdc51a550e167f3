//! Times every kernel and the frozen products at the sizes of Llama-3.1-8B, as one line of JSON each: milliseconds (the
//! median of several repetitions), the rate, and its share of a ceiling that is measured first, on the same machine.
//!
//! `cargo run --release -p obvert-device --example throughput [-- --simulate]`
//!
//! With `--simulate` tiny sizes run once each on the simulation: nothing is measured, but everything is launched.

mod bench;
mod kernels;
mod lora;
mod products;
mod sizes;

use std::process::ExitCode;

use half::bf16;
use obvert_device::cuda::Cuda;
use obvert_device::simulation::{Order, Program};
use obvert_device::{Device, Error};

use bench::Bench;
use sizes::{LLAMA, TINY};

type Group = fn(&Bench) -> Result<(), Error>;

/// In the order of a step. A group takes its memory when it begins and gives it back when it ends.
const GROUPS: [(&str, Group); 12] = [
    ("products", products::frozen),
    ("head", products::head),
    ("norms", kernels::norms),
    ("lora", lora::matrices),
    ("rope", kernels::rope),
    ("attention", kernels::attention),
    ("swiglu", kernels::swiglu),
    ("rows", kernels::rows),
    ("logprob", kernels::logprob),
    ("margin", kernels::margin),
    ("adamw", kernels::adamw),
    ("generation", kernels::generation),
];

fn main() -> Result<ExitCode, Error> {
    let simulated = std::env::args().any(|argument| argument == "--simulate");
    let (device, sizes) = if simulated { (simulation()?, TINY) } else { (Cuda::start(0)?, LLAMA) };
    let mut bench = Bench::new(device, sizes, simulated)?;
    if let Err(error) = bench.measure_ceilings() {
        bench.fail("ceilings", &error);
    }
    for (name, group) in GROUPS {
        group(&bench).unwrap_or_else(|error| bench.fail(name, &error));
    }
    Ok(if bench.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn simulation() -> Result<Device<bf16>, Error> {
    let missing = || Error::Machine { machine: "simulation".into(), cause: "there is no C++ compiler".into() };
    let [_, rounded] = Program::both().ok_or_else(missing)??;
    rounded.start(Order::Forward)
}
