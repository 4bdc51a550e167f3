//! Log-probs and gradients.

use obvert_trainer::compute::Compute;
use obvert_trainer::device::DeviceModel;
use obvert_trainer::loss::{Average, Ipo, PreferenceLoss};
use obvert_trainer::settings::{Activations, LossKind};
use obvert_trainer::{ResponseLogps, TokenPair, TrainSettings};

use crate::case::{RPO, cases, devices};
use crate::common::{MODELS, fixture, shared};

#[test]
fn log_probs_and_gradients_are_those_of_the_cpu() {
    let Some((exact, rounded)) = devices("log_probs_and_gradients_are_those_of_the_cpu") else { return };
    for (name, case) in cases() {
        let expected = case.on_cpu(&RPO);
        let mut device = case.on(&exact, 512, Activations::Keep);
        let found = case.gradient(&mut device, &RPO);
        let [gradient, rest] = case.apart(&found, &expected);
        assert!(gradient < 1e-4 && rest < 1e-5, "{name}: gradients off by {gradient:.1e}, the rest by {rest:.1e}");
        // Without its adapter the device still computes the base.
        let base = device.logprobs(None, &case.pairs).unwrap();
        let off = base.iter().zip(&case.reference).map(|(a, b)| (a.chosen - b.chosen).abs()).fold(0.0, f64::max);
        assert!(off < 1e-4, "{name}: base off by {off:.1e}");
        case.assert_rounded(name, &rounded, &expected);
    }
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_to_score_is_zero() {
    let Some((exact, _)) = devices("what_does_not_fit_is_refused_and_nothing_to_score_is_zero") else { return };
    let cases = cases();
    let mut device = cases[0].1.on(&exact, 512, Activations::Keep);
    let error = device.logprobs(Some(&cases[2].1.adapter), &cases[0].1.pairs).unwrap_err().to_string();
    assert!(error.contains("another rank or for other projections"), "{error}");
    let silent = TokenPair { prompt: vec![1, 2], chosen: vec![], rejected: vec![], gap: 0.0 };
    assert_eq!(device.logprobs(None, &[silent]).unwrap(), [ResponseLogps::default()]);
}

#[test]
fn passes_and_recomputing_change_nothing() {
    let Some((exact, _)) = devices("passes_and_recomputing_change_nothing") else { return };
    let (_, case) = cases().remove(0);
    // IPO's terms read their own pair, KTO's the whole batch.
    let kto = TrainSettings { loss: LossKind::Kto, ..TrainSettings::default() }.preference_loss();
    let ipo = Ipo { beta: 0.1, average: Average::Sum };
    for loss in [&ipo as &dyn PreferenceLoss, kto.as_ref()] {
        let expected = case.on_cpu(loss);
        let gradient = |micro_tokens, activations| {
            let mut device = case.on(&exact, micro_tokens, activations);
            case.gradient(&mut device, loss)
        };
        let (kept, recomputed) = (gradient(1, Activations::Keep), gradient(1, Activations::Recompute));
        assert!(kept.gradient == recomputed.gradient && kept.loss.to_bits() == recomputed.loss.to_bits());
        let [gradient, rest] = case.apart(&kept, &expected);
        assert!(gradient < 1e-4 && rest < 1e-5, "{loss:?}: gradients off by {gradient:.1e}, the rest by {rest:.1e}");
    }
}

#[test]
fn the_device_agrees_with_the_fixtures() {
    let test = "the_device_agrees_with_the_fixtures";
    let (Some(shared), Some((exact, _))) = (shared(test), devices(test)) else { return };
    for name in MODELS {
        let fixture = fixture::<f32>(&shared, name);
        let pairs: Vec<TokenPair> = fixture.batch.pairs.iter().take(1).cloned().collect();
        let expected = obvert_trainer::logprobs(&fixture.model, Some(&fixture.adapter), &pairs).unwrap();
        let adapter = (fixture.adapter.rank, &*fixture.adapter.targets());
        let passes = (512, Activations::Keep);
        let mut device = DeviceModel::new(exact.clone(), &fixture.model, adapter, passes).unwrap();
        let found = device.logprobs(Some(&fixture.adapter), &pairs).unwrap();
        for (found, expected) in found.iter().zip(&expected) {
            let off = (found.chosen - expected.chosen).abs().max((found.rejected - expected.rejected).abs());
            assert!(off < 1e-3, "{name}: {found:?}, expected {expected:?}");
        }
    }
}
