//! The memory plan.

use std::sync::Arc;

use half::bf16;
use obvert_trainer::Projection;
use obvert_trainer::device::{MemoryPlan, Planned};
use obvert_trainer::load::quant::GgmlType;
use obvert_trainer::settings::Activations;
use serde_json::json;

use crate::case::{Case, RPO, devices};
use crate::common::{quantised_models, random_pairs, tiny_config};

/// What is planned before anything is loaded is what is allocated, and little more.
#[test]
fn the_memory_plan_is_what_is_allocated() {
    if devices("the_memory_plan_is_what_is_allocated").is_none() {
        return;
    }
    let sizes = json!({
        "model_type": "qwen2", "tie_word_embeddings": false, "hidden_size": 64, "head_dim": 32, "intermediate_size": 256, "vocab_size": 300, "num_hidden_layers": 4,
    });
    let (config, keep) = (tiny_config(sizes), Activations::Keep);
    let [blocks, wide] = quantised_models(&config, |value| value).map(Arc::new);
    // Hardly any prompt: every token but the last is a target.
    let pairs = random_pairs(1, config.vocab_size, [1, 20, 20], 4);
    for (name, model, activations) in
        [("dense", &wide, keep), ("recomputed", &wide, Activations::Recompute), ("quantised", &blocks, keep)]
    {
        let device = devices("").unwrap().1;
        let case = Case { model: Arc::clone(model), ..Case::new(&config, &Projection::ALL, pairs.clone()) };
        let rows = pairs[0].packed_tokens();
        case.gradient(&mut case.on(&device, rows, activations), &RPO);
        let planned = Planned {
            config: &config,
            adapter: (case.adapter.rank, &Projection::ALL),
            micro_tokens: rows,
            activations,
        };
        let plan = MemoryPlan::of_model::<bf16>(model, planned);
        // The simulation needs no library for products.
        let (planned, used) = (plan.total() - (32 << 20), device.machine().most_used().unwrap());
        eprintln!("{name}: {planned} bytes planned, {used} used");
        assert!(used <= planned && planned <= used * 21 / 20, "{name}: {planned} bytes planned, {used} used\n{plan}");
    }
}

/// Llama-3.1-70B with an adapter of rank 16 on one H200, which has 141 GB: only with a quantised base.
#[test]
fn a_base_of_70_billion_fits_one_card_in_blocks() {
    let config = tiny_config(json!({
        "vocab_size": 128_256, "hidden_size": 8192, "num_hidden_layers": 80, "num_attention_heads": 64,
        "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 28_672, "max_position_embeddings": 131_072,
    }));
    let plan = |kind: Option<GgmlType>, micro_tokens, activations| {
        let planned = Planned { config: &config, adapter: (16, &Projection::ALL), micro_tokens, activations };
        let plan = MemoryPlan::new::<bf16>(planned, |_, _| kind);
        eprintln!("{kind:?}, {micro_tokens} tokens, {activations:?}:\n{plan}");
        plan.check(141_000_000_000).is_ok()
    };
    assert!(plan(Some(GgmlType::Q4_0), 4_096, Activations::Keep));
    assert!(plan(Some(GgmlType::Q8_0), 16_384, Activations::Recompute));
    assert!(!plan(Some(GgmlType::Q8_0), 16_384, Activations::Keep));
    assert!(!plan(None, 1_024, Activations::Recompute));
}

#[test]
fn a_plan_that_does_not_fit_says_what_would() {
    let config = tiny_config(json!({ "hidden_size": 64, "intermediate_size": 256 }));
    let planned =
        Planned { config: &config, adapter: (3, &Projection::ALL), micro_tokens: 100, activations: Activations::Keep };
    let plan = MemoryPlan::new::<bf16>(planned, |_, _| None);
    plan.check(plan.total()).unwrap();
    for (free, expected) in [
        (plan.total() - 1, "activations = \"recompute\""),
        (plan.total() - plan.activations - 1, "a lower rank"),
        (plan.weights - 1, "storage = \"file\""),
    ] {
        let error = plan.check(free).unwrap_err().to_string();
        assert!(error.starts_with("device: ") && error.contains(expected) && error.contains("weights "), "{error}");
    }
}
