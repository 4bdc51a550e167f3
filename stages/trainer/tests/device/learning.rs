//! Updates.

use std::sync::Arc;

use obvert_trainer::compute::{Compute, Learner};
use obvert_trainer::settings::Activations;
use obvert_trainer::{Error, ResponseLogps, Trainer, checkpoint};
use serde_json::json;

use crate::case::{cases, devices, distance};
use crate::common::fill;

#[test]
fn three_updates_end_where_the_cpu_ends() {
    let Some((exact, rounded)) = devices("three_updates_end_where_the_cpu_ends") else { return };
    let (_, case) = cases().remove(0);
    let [losses, adapters] = case.three_updates(&exact);
    assert!(losses < 1e-5 && adapters < 1e-3, "losses are {losses:.1e} apart, the adapters' ways {adapters:.1e}");
    let [losses, adapters] = case.three_updates(&rounded);
    eprintln!("in bfloat16: losses are {losses:.1e} apart, the adapters' ways {adapters:.1e}");
    assert!(losses < 0.02 && adapters < 0.2, "losses are {losses:.1e} apart, the adapters' ways {adapters:.1e}");
}

#[test]
fn a_run_goes_on_from_a_checkpoint_bit_for_bit() {
    let Some((exact, _)) = devices("a_run_goes_on_from_a_checkpoint_bit_for_bit") else { return };
    let (_, case) = cases().remove(0);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("checkpoint");
    let step = |trainer: &mut Trainer| trainer.step(&case.pairs, &case.reference).unwrap();
    let (mut whole, mut resumed) = (case.trainer_on(&exact), case.trainer_on(&exact));
    step(&mut whole);
    step(&mut whole);
    whole.save(&file, &json!(null)).unwrap();
    // The other one has been elsewhere.
    step(&mut resumed);
    resumed.resume(checkpoint::load(&file).unwrap().0).unwrap();
    assert_eq!(step(&mut whole), step(&mut resumed));
    assert!(*resumed.adapter().unwrap() == *whole.adapter().unwrap(), "another adapter after going on");
    // And starts over as if it were new.
    resumed.start_over(case.adapter.clone()).unwrap();
    let mut new = case.trainer_on(&exact);
    assert_eq!(step(&mut new), step(&mut resumed));
    assert!(*resumed.adapter().unwrap() == *new.adapter().unwrap(), "another adapter after starting over");
}

#[test]
fn what_is_not_finite_leaves_the_adapter() {
    let Some((exact, _)) = devices("what_is_not_finite_leaves_the_adapter") else { return };
    let (_, mut case) = cases().remove(0);
    let mut model = (*case.model).clone();
    model.final_norm[3] = f32::NAN;
    let good = std::mem::replace(&mut case.model, Arc::new(model));
    let mut broken = case.trainer_on(&exact);
    let error = broken.step(&case.pairs, &case.reference).unwrap_err();
    assert!(matches!(error, Error::NonFinite { step: 1, .. }), "{error}");
    assert!(*broken.adapter().unwrap() == case.adapter && broken.steps() == 0);
    // A gradient that is not finite is found by its norm: so is one of a loss that is, as the kernels see it.
    case.model = good;
    let reference = vec![ResponseLogps { chosen: f64::NAN, rejected: 0.0 }; case.pairs.len()];
    let mut good = case.trainer_on(&exact);
    assert!(good.step(&case.pairs, &reference).is_err());
    assert!(*good.adapter().unwrap() == case.adapter && good.steps() == 0);
    good.step(&case.pairs, &case.reference).unwrap();
    assert!(distance(&good.adapter().unwrap(), &case.adapter) > 1e-3);
}

#[test]
fn the_adapter_learns_on_after_another_one_was_scored() {
    let Some((exact, _)) = devices("the_adapter_learns_on_after_another_one_was_scored") else { return };
    let (_, case) = cases().remove(0);
    let mut device = case.on(&exact, 512, Activations::Keep);
    let before = device.policy(&case.pairs).unwrap();
    let mut other = case.adapter.clone();
    fill(&mut other, 9);
    assert_ne!(device.logprobs(Some(&other), &case.pairs).unwrap(), before);
    assert_eq!(device.policy(&case.pairs).unwrap(), before);
}
