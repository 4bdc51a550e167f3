//! The same on a real GPU, where there is one: bfloat16, and sizes that its tiles are made for.

use std::sync::OnceLock;

use half::bf16;
use obvert_device::Device;
use obvert_device::cuda::Cuda;
use obvert_trainer::Projection;
use obvert_trainer::compute::Compute;
use obvert_trainer::device::DeviceModel;
use obvert_trainer::settings::Activations;
use serde_json::json;

use crate::case::{Case, RPO, cases};
use crate::common::{MODELS, fixture, random_pairs, shared, tiny_config};
use crate::quantised;

fn gpu(test: &str) -> Option<&'static Device<bf16>> {
    static GPU: OnceLock<Option<Device<bf16>>> = OnceLock::new();
    let start = || (Cuda::count() > 0).then(|| Cuda::start(0).unwrap_or_else(|error| panic!("{error}")));
    let gpu = GPU.get_or_init(start).as_ref();
    if gpu.is_none() {
        eprintln!("SKIPPED: {test}: no GPU");
    }
    gpu
}

fn of_realistic_sizes() -> Case {
    let large = tiny_config(json!({
        "hidden_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64,
        "intermediate_size": 704, "vocab_size": 9000, "max_position_embeddings": 1024,
    }));
    Case::new(&large, &Projection::ALL, random_pairs(3, large.vocab_size, [150, 90, 70], 4))
}

#[test]
fn a_gpu_agrees_with_the_cpu() {
    let Some(device) = gpu("a_gpu_agrees_with_the_cpu") else { return };
    let mut all = cases();
    all.push(("of realistic sizes", of_realistic_sizes()));
    for (name, case) in all {
        case.assert_rounded(name, device, &case.on_cpu(&RPO));
    }
    let [blocks, wide] = quantised::cases(&Projection::ALL);
    blocks.assert_rounded("in blocks", device, &wide.on_cpu(&RPO));
}

#[test]
fn a_gpu_makes_three_updates_as_the_cpu_does() {
    let Some(device) = gpu("a_gpu_makes_three_updates_as_the_cpu_does") else { return };
    let [blocks, _] = quantised::cases(&Projection::ALL);
    for (name, case) in
        [("small", cases().remove(0).1), ("of realistic sizes", of_realistic_sizes()), ("in blocks", blocks)]
    {
        let [losses, adapters] = case.three_updates(device);
        eprintln!("{name}: losses are {losses:.1e} apart, the adapters' ways {adapters:.1e}");
        assert!(
            losses < 0.02 && adapters < 0.2,
            "{name}: losses {losses:.1e} apart, the adapters' ways {adapters:.1e}"
        );
    }
}

#[test]
fn a_gpu_agrees_with_the_fixtures() {
    let test = "a_gpu_agrees_with_the_fixtures";
    let (Some(device), Some(shared)) = (gpu(test), shared(test)) else { return };
    for name in MODELS {
        let fixture = fixture::<f32>(&shared, name);
        let pairs = &fixture.batch.pairs;
        let expected = obvert_trainer::logprobs(&fixture.model, Some(&fixture.adapter), pairs).unwrap();
        let shape = (fixture.adapter.rank, &*fixture.adapter.targets());
        let mut device = DeviceModel::new(device.clone(), &fixture.model, shape, (512, Activations::Keep)).unwrap();
        let found = device.logprobs(Some(&fixture.adapter), pairs).unwrap();
        for (found, expected) in found.iter().zip(&expected) {
            let off = (found.chosen - expected.chosen) / expected.chosen;
            assert!(off.abs() < 0.02, "{name}: {found:?}, expected {expected:?}");
        }
    }
}
