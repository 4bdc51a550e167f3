//! Every number of the reference: logits, log-probs, losses, gradients and three optimizer steps.

// Helpers of tests are tests too, which clippy's configuration cannot see.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::sync::Arc;

use common::{Fixture, MODELS, chosen_and_rejected, fixture, relative_l2, shared};
use obvert_trainer::gradient::Reference;
use obvert_trainer::loss::{Average, KtoBaseline};
use obvert_trainer::passes::Passes;
use obvert_trainer::settings::{Activations, LossKind};
use obvert_trainer::{Adapter, Real, TrainSettings, Trainer, logits, logprobs, schedule::Schedule};

/// The greatest error of each kind of number.
type Errors = Vec<(String, f64)>;

fn settings<F>(fixture: &Fixture<F>, loss: LossKind) -> TrainSettings {
    TrainSettings {
        loss,
        beta: Some(fixture.batch.beta),
        gamma: Some(fixture.batch.gamma),
        lr: 5e-4,
        schedule: Schedule::Constant,
        total_steps: 3,
        max_grad_norm: 0.0,
        micro_tokens: 512,
        ..TrainSettings::default()
    }
}

fn forward_errors<F: Real>(fixture: &Fixture<F>) -> Errors {
    let mut errors = Vec::new();
    let pairs = &fixture.batch.pairs;
    let text = [pairs[0].prompt.clone(), pairs[0].chosen.clone()].concat();
    for (name, adapter) in [("policy", Some(&fixture.adapter)), ("reference", None)] {
        let found = logits(&fixture.model, adapter, &text).data;
        let kind = format!("logits.{name}");
        errors.push((kind.clone(), relative_l2(&found, &fixture.reference.values(&kind))));
        let logps = logprobs(&fixture.model, adapter, pairs).unwrap();
        for (part, found) in ["chosen", "rejected"].into_iter().zip(chosen_and_rejected(&logps)) {
            let kind = format!("logp.{name}.{part}");
            errors.push((kind.clone(), relative_l2(&found, &fixture.reference.values(&kind))));
        }
    }
    errors
}

fn worst_matrix<F: Real>(fixture: &Fixture<F>, found: &Adapter<F>, prefix: &str) -> f64 {
    let expected = fixture.reference.names().iter().filter(|name| name.starts_with(prefix)).count();
    assert_eq!(found.named_matrices().count(), expected, "{prefix}");
    let error = |(name, matrix): (String, &obvert_trainer::Matrix<F>)| {
        relative_l2(&matrix.data, &fixture.reference.values(&format!("{prefix}.{name}")))
    };
    found.named_matrices().map(error).fold(0.0, f64::max)
}

/// The settings whose loss the reference calls `name`.
fn named<F>(fixture: &Fixture<F>, name: &str) -> TrainSettings {
    let of = |kind| settings(fixture, kind);
    let kto = |kto_baseline| TrainSettings { kto_baseline, ..of(LossKind::Kto) };
    match name {
        "rpo" => of(LossKind::Rpo),
        "dpo" => of(LossKind::Dpo),
        "ipo_sum" => of(LossKind::Ipo),
        "ipo_avg" => TrainSettings { ipo_average: Average::Mean, ..of(LossKind::Ipo) },
        "kto_zero_ref" => kto(KtoBaseline::Zero),
        "kto_pair" => kto(KtoBaseline::Pair),
        "simpo" => TrainSettings { beta: None, gamma: None, ..of(LossKind::Simpo) },
        other => panic!("no loss is called {other}"),
    }
}

fn gradient_errors<F: Real>(fixture: &Fixture<F>) -> Errors {
    let logps = logprobs(&fixture.model, None, &fixture.batch.pairs).unwrap();
    let reference = Reference { logps: &logps, mismatched: 0.0 };
    let mut errors = Vec::new();
    let losses = fixture.json["losses"].as_object().unwrap();
    assert_eq!(losses.len(), 7);
    for (name, expected) in losses {
        let loss = named(fixture, name).preference_loss();
        let Fixture { model, adapter, batch, .. } = fixture;
        // All at once, and in passes of about two pairs.
        for micro_tokens in [100_000, 64] {
            let passes = Passes::new(micro_tokens, Activations::Keep);
            let found = passes.batch_gradient(model, adapter, &batch.pairs, reference, loss.as_ref()).unwrap();
            errors.push((format!("loss.{name}"), (found.loss / expected.as_f64().unwrap() - 1.0).abs()));
            if ["rpo", "dpo"].contains(&name.as_str()) {
                errors.push((format!("grad.{name}"), worst_matrix(fixture, &found.gradient, &format!("grad.{name}"))));
            }
        }
    }
    errors
}

fn training_errors<F: Real>(fixture: &Fixture<F>) -> Errors {
    let settings = settings(fixture, LossKind::Rpo);
    let model = Arc::new(fixture.model.clone());
    let mut trainer = Trainer::with_adapter(model, settings, fixture.adapter.clone()).unwrap();
    let reference = trainer.reference_logps(&fixture.batch.pairs).unwrap();
    let mut errors = Vec::new();
    for step in 0..3 {
        let metrics = trainer.step(&fixture.batch.pairs, &reference).unwrap();
        let expected = fixture.json["rpo_loss_before_each_step_and_after_third"][step].as_f64().unwrap();
        errors.push((format!("loss before step {}", step + 1), (metrics.batch.loss / expected - 1.0).abs()));
        if step == 0 {
            let expected = fixture.json["reward_accuracy"].as_f64().unwrap();
            errors.push(("accuracy".into(), (metrics.batch.accuracies - expected).abs()));
        }
        let prefix = format!("param.step{}", step + 1);
        let error = worst_matrix(fixture, &trainer.adapter().unwrap(), &prefix);
        errors.push((prefix, error));
    }
    errors
}

fn check<F: Real>(tolerance: f64) {
    let Some(shared) = shared("fixtures") else {
        return;
    };
    for name in MODELS {
        let fixture = fixture::<F>(&shared, name);
        let errors = [forward_errors(&fixture), gradient_errors(&fixture), training_errors(&fixture)].concat();
        for (kind, error) in errors {
            println!("{name} {} {kind}: {error:.1e}", std::any::type_name::<F>());
            assert!(error < tolerance, "{name}: {kind} is off by {error:e}");
        }
    }
}

#[test]
fn single_precision_agrees_with_the_reference() {
    check::<f32>(1e-4);
}

#[test]
fn double_precision_agrees_with_the_reference() {
    check::<f64>(1e-8);
}
