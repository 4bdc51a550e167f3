//! Sampling against the rule, token by token.

use crate::common::{Numbers, on_every_machine};
use obvert_device::ops::sample;
use obvert_device::{Device, Error, Stored};

/// The token that the rule draws; −1 for logits without a finite maximum. Weights are floats, so that those which are equal
/// there are equal here.
fn draw(logits: &[f32], [temperature, top_p, unit]: [f64; 3]) -> i32 {
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if logits.iter().any(|logit| logit.is_nan()) || !greatest.is_finite() {
        return -1;
    }
    let first = logits.iter().position(|logit| *logit == greatest).unwrap();
    if temperature < 1e-6 {
        return first as i32;
    }
    let inverse = 1.0 / temperature as f32;
    let weight = |(token, logit): (usize, &f32)| (token, f64::from(((logit - greatest) * inverse).exp()));
    let mut weights: Vec<(usize, f64)> = logits.iter().enumerate().map(weight).collect();
    if top_p < 1.0 {
        weights.sort_by(|(i, a), (j, b)| b.total_cmp(a).then(i.cmp(j)));
        let enough = top_p * total(&weights);
        let needed = (1..weights.len()).find(|count| total(&weights[..*count]) >= enough);
        weights.truncate(needed.unwrap_or(weights.len()));
    }
    let mut left = unit * total(&weights);
    weights.retain(|(_, weight)| *weight > 0.0);
    let passed = weights.iter().find(|(_, weight)| {
        left -= weight;
        left < 0.0
    });
    passed.or(weights.last()).map_or(-1, |(token, _)| *token as i32)
}

fn total(weights: &[(usize, f64)]) -> f64 {
    weights.iter().map(|(_, weight)| weight).sum()
}

/// What rounding of sums lets a draw become.
fn allowed(logits: &[f32], [temperature, top_p, unit]: [f64; 3]) -> Vec<i32> {
    let near = |value: f64, by: f64| [value - by, value, value + by];
    let units = near(unit, 2e-6).map(|unit| unit.clamp(0.0, 1.0));
    let shares = if top_p < 1.0 { near(top_p, 1e-6) } else { [1.0; 3] };
    units.iter().flat_map(|unit| shares.map(|share| draw(logits, [temperature, share, *unit]))).collect()
}

/// Draws a token for every row and compares.
fn compare<F: Stored>(device: &Device<F>, rows: &[(Vec<f32>, [f32; 3])]) -> Result<(), Error> {
    let (n, vocab) = (rows.len(), rows[0].0.len());
    let logits: Vec<f32> = rows.iter().flat_map(|(logits, _)| logits).copied().collect();
    let settings: Vec<[f32; 3]> = rows.iter().map(|(_, settings)| *settings).collect();
    let (mut there, mut tokens) = (device.copy("logits", &logits)?, device.room("tokens", n)?);
    sample::tokens(device, &mut tokens, &mut there, &device.copy("settings", &settings)?, [n, vocab])?;
    for (token, (logits, settings)) in tokens.read()?.into_iter().zip(rows) {
        let allowed = allowed(logits, settings.map(f64::from));
        assert!(allowed.contains(&token), "{settings:?} of {vocab}: {token}, expected one of {allowed:?}");
    }
    Ok(())
}

#[test]
fn tokens_are_those_of_the_rule() {
    on_every_machine!("tokens_are_those_of_the_rule", check);
}

fn check<F: Stored>(device: &Device<F>) -> Result<(), Error> {
    const SETTINGS: [[f32; 3]; 9] = [
        [0.0, 1.0, 0.9],
        [1.0, 1.0, 0.0],
        [1.0, 1.0, 0.37],
        [0.7, 1.0, 0.9999],
        [1.0, 0.9, 0.0],
        [1.0, 0.9, 0.61],
        [1.3, 0.5, 0.93],
        [1.0, 0.999, 0.9999],
        [2.0, 0.05, 0.5],
    ];
    // Peaked; many equals; so flat that a thread has more candidates than it can set aside.
    for (vocab, scale, grain) in [(37, 12.0, 0.0), (1501, 8.0, 1.0), (777, 0.01, 0.0)] {
        let mut numbers = Numbers::new(vocab);
        let round = |value: f32| if grain > 0.0 { (value / grain).round() * grain } else { value };
        let row = |settings| ((0..vocab).map(|_| round(scale * numbers.next())).collect(), settings);
        compare(device, &SETTINGS.map(row))?;
    }
    Ok(())
}

#[test]
fn equals_hidden_tokens_and_nonsense() {
    on_every_machine!("equals_hidden_tokens_and_nonsense", check_special);
}

fn check_special<F: Stored>(device: &Device<F>) -> Result<(), Error> {
    const HIDDEN: f32 = f32::NEG_INFINITY;
    let logits = [
        [1.0, 3.0, 3.0, HIDDEN],
        [HIDDEN, HIDDEN, -4.0, HIDDEN],
        [f32::NAN, 1.0, 2.0, 3.0],
        [f32::INFINITY, 1.0, 2.0, 3.0],
        [HIDDEN; 4],
        [1.0, 3.0, 3.0, -1e30],
    ];
    // The last unit is what one that is uniform in double precision may be rounded to.
    for settings in
        [[0.0, 1.0, 0.5], [1e-7, 1.0, 0.5], [1.0, 1.0, 0.5], [1.0, 0.4, 0.5], [1.0, 1.0, 1.0], [1.0, 0.9, 1.0]]
    {
        compare(device, &logits.map(|logits| (logits.to_vec(), settings)))?;
    }
    compare(device, &[(vec![-2.0], [1.0, 0.5, 0.5]), (vec![7.0], [1.0, 1.0, 0.99])])
}
