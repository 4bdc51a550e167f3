use super::*;

/// Two couples of pairs that mirror each other, with unlike lengths and log-probs.
fn pairs() -> Vec<PairLogps> {
    let pair =
        |[chosen, rejected, reference_chosen, reference_rejected]: [f64; 4], gap, lengths: [usize; 2]| PairLogps {
            chosen,
            rejected,
            reference_chosen,
            reference_rejected,
            gap,
            chosen_tokens: lengths[0],
            rejected_tokens: lengths[1],
        };
    vec![
        pair([-10.0, -12.0, -11.0, -9.0], 3.0, [7, 4]),
        pair([-30.0, -2.0, -31.0, -4.0], 1.0, [12, 3]),
        pair([-1.0, -90.0, -1.5, -60.0], 2.0, [2, 40]),
        pair([-8.0, -8.5, -8.0, -8.0], 5.0, [9, 9]),
    ]
}

fn totals(pairs: &[PairLogps]) -> Totals {
    let lengths = || pairs.iter().flat_map(|pair| [pair.chosen_tokens, pair.rejected_tokens]);
    Totals {
        pairs: pairs.len(),
        responses: lengths().filter(|tokens| *tokens > 0).count(),
        chosen_tokens: pairs.iter().map(|pair| pair.chosen_tokens).sum(),
    }
}

fn sum(loss: &dyn PreferenceLoss, pairs: &[PairLogps]) -> f64 {
    let batch = BatchLogps { pairs, totals: totals(pairs), mismatched: 0.4 };
    (0..pairs.len()).map(|at| loss.term(at, &batch).loss).sum()
}

fn mean(loss: &dyn PreferenceLoss, pairs: &[PairLogps]) -> f64 {
    sum(loss, pairs) / pairs.len() as f64
}

/// Where a loss says that its terms are −log σ(βD − mg), they are.
fn check_logistic(loss: &dyn PreferenceLoss, pairs: &[PairLogps]) {
    let Some([beta, per_gap]) = loss.logistic() else { return };
    let batch = BatchLogps { pairs, totals: totals(pairs), mismatched: 0.4 };
    for (at, pair) in pairs.iter().enumerate() {
        let x = beta * pair.difference() - per_gap * pair.gap;
        assert!((loss.term(at, &batch).loss - neg_log_sigmoid(x)).abs() < 1e-12, "{loss:?}, pair {at}");
    }
}

fn check(loss: &dyn PreferenceLoss, pairs: &[PairLogps]) {
    check_logistic(loss, pairs);
    let step = 1e-5;
    for at in 0..pairs.len() {
        let slope = |nudge: &dyn Fn(&mut PairLogps, f64)| {
            let moved = |by: f64| {
                let mut moved = pairs.to_vec();
                nudge(&mut moved[at], by);
                sum(loss, &moved)
            };
            (moved(step) - moved(-step)) / (2.0 * step)
        };
        let exact = loss.term(at, &BatchLogps { pairs, totals: totals(pairs), mismatched: 0.4 });
        for (exact, slope) in [
            (exact.d_chosen, slope(&|pair, by| pair.chosen += by)),
            (exact.d_rejected, slope(&|pair, by| pair.rejected += by)),
        ] {
            assert!((exact - slope).abs() < 1e-7 * (1.0 + slope.abs()), "{loss:?}, pair {at}: {exact}, {slope}");
        }
    }
}

#[test]
fn derivatives_agree_with_differences() {
    let dpo = |beta, label_smoothing| Dpo { beta, label_smoothing };
    let rpo = |margin| Rpo { beta: 0.1, gamma: 0.05, margin };
    let kto = |baseline| Kto { beta: 0.1, desirable_weight: 1.3, undesirable_weight: 0.7, baseline };
    let losses: [Box<dyn PreferenceLoss>; 12] = [
        Box::new(dpo(0.1, 0.0)),
        Box::new(dpo(0.3, 0.2)),
        Box::new(rpo(Margin::Paper)),
        Box::new(rpo(Margin::ReferenceCode)),
        Box::new(Ipo { beta: 0.1, average: Average::Sum }),
        Box::new(Ipo { beta: 0.1, average: Average::Mean }),
        Box::new(kto(KtoBaseline::Mismatched)),
        Box::new(kto(KtoBaseline::Zero)),
        Box::new(Simpo { beta: 2.0, gamma: 1.0 }),
        Box::new(Orpo { lambda: 0.1 }),
        Box::new(Iopo { beta: 0.1 }),
        Box::new(WithNll { loss: Box::new(dpo(0.1, 0.0)), weight: 0.2 }),
    ];
    losses.iter().for_each(|loss| check(loss.as_ref(), &pairs()));
    check(&Sft, &pairs());
    let mut lopsided = pairs();
    (lopsided[0].rejected_tokens, lopsided[0].rejected, lopsided[0].reference_rejected) = (0, 0.0, 0.0);
    (lopsided[2].chosen_tokens, lopsided[2].chosen, lopsided[2].reference_chosen) = (0, 0.0, 0.0);
    check(&kto(KtoBaseline::Mismatched), &lopsided);
}

#[test]
fn conventions_differ_by_beta_and_no_margin_is_dpo() {
    let pair = PairLogps {
        chosen: -5.0,
        rejected: -7.0,
        reference_chosen: -6.0,
        reference_rejected: -6.5,
        gap: 4.0,
        chosen_tokens: 3,
        rejected_tokens: 3,
    };
    // D = 1 + 0.5
    let expected = |x: f64| (1.0 + (-x).exp()).ln();
    let rpo = |gamma, margin| mean(&Rpo { beta: 0.1, gamma, margin }, &[pair]);
    assert!((rpo(0.05, Margin::Paper) - expected(0.15 - 0.2)).abs() < 1e-15);
    assert!((rpo(0.05, Margin::ReferenceCode) - expected(0.15 - 0.02)).abs() < 1e-15);
    assert_eq!(rpo(0.0, Margin::Paper), mean(&Dpo { beta: 0.1, label_smoothing: 0.0 }, &[pair]));
}

/// KTO's z is the batch's and a constant: each side is as if it were given.
#[test]
fn kto_compares_with_the_other_side() {
    let pairs = pairs();
    let kto = |baseline| Kto { beta: 0.1, desirable_weight: 1.0, undesirable_weight: 1.0, baseline };
    let at = |baseline, mismatched| {
        let batch = BatchLogps { pairs: &pairs, totals: totals(&pairs), mismatched };
        kto(baseline).term(1, &batch)
    };
    let mean = |ratio: fn(&PairLogps) -> f64| pairs.iter().map(ratio).sum::<f64>() / 4.0;
    // The rejected responses have become less likely on average: their mean is cut at 0.
    assert!(mean(PairLogps::rejected_ratio) < 0.0 && mean(PairLogps::chosen_ratio) > 0.0);
    let found = at(KtoBaseline::Pair, 9.0);
    assert_eq!(found.d_chosen, at(KtoBaseline::Zero, 9.0).d_chosen);
    assert_eq!(found.d_rejected, at(KtoBaseline::Mismatched, mean(PairLogps::chosen_ratio)).d_rejected);
}

#[test]
fn an_iopo_quadruple_is_two_mirrored_pairs() {
    let pairs = pairs();
    let x = 0.1 * (pairs[0].difference() + pairs[1].difference());
    let y = 0.1 * (pairs[2].difference() + pairs[3].difference());
    let expected = (neg_log_sigmoid(x) + neg_log_sigmoid(y)) / 2.0;
    assert!((mean(&Iopo { beta: 0.1 }, &pairs) - expected).abs() < 1e-15);
    let pair = |chosen, rejected| crate::TokenPair { prompt: vec![1], chosen, rejected, gap: 1.0 };
    let [a, b, c] = [pair(vec![1], vec![2]), pair(vec![2], vec![1]), pair(vec![3], vec![1])];
    let check = |pairs: &[crate::TokenPair]| Iopo { beta: 0.1 }.check_batch(pairs);
    assert_eq!(check(&[a.clone(), b.clone()]), Ok(()));
    assert!(check(std::slice::from_ref(&a)).unwrap_err().contains("odd"));
    assert!(check(&[a.clone(), b, a, c]).unwrap_err().contains("pairs 2 and 3"));
}

/// The mean over tokens, not over responses.
#[test]
fn sft_weighs_every_token_alike() {
    assert!((mean(&Sft, &pairs()) - 49.0 / 30.0).abs() < 1e-15);
    // With a near-certain response the odds are great but finite.
    let mut sure = pairs();
    sure[0].chosen = 0.0;
    assert!(mean(&Orpo { lambda: 0.1 }, &sure).is_finite());
}
