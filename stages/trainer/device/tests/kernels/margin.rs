//! Log-probs of responses and the terms of RPO and DPO, against their formulas.

use crate::common::{Numbers, assert_close, on_every_machine, wide};
use obvert_device::ops::margin::{self, Margin, Pairs};
use obvert_device::{Device, Error, Stored};

#[test]
fn log_probs_are_added_up_by_response() {
    on_every_machine!("log_probs_are_added_up_by_response", check_sums);
}

fn check_sums<F: Stored>(device: &Device<F>) -> Result<(), Error> {
    let lengths = [1_usize, 0, 300, 256, 31];
    let first: Vec<i32> = (0..=lengths.len()).map(|at| lengths[..at].iter().sum::<usize>() as i32).collect();
    let mut numbers = Numbers::new(1);
    let logps: Vec<f32> = (0..lengths.iter().sum()).map(|_| 5.0 * (numbers.next() - 1.0)).collect();
    let mut sums = device.room("sums", lengths.len())?;
    let (logps_there, first_there) = (device.copy("logps", &logps)?, device.copy("first", &first)?);
    margin::response_sums(device, &mut sums, &logps_there, &first_there, lengths.len())?;
    let sum = |bounds: &[i32]| wide(&logps[bounds[0] as usize..bounds[1] as usize]).iter().sum();
    assert_close("sums", &sums.read()?, &first.windows(2).map(sum).collect::<Vec<f64>>());
    Ok(())
}

#[test]
fn terms_and_slopes_are_those_of_the_formula() {
    on_every_machine!("terms_and_slopes_are_those_of_the_formula", check_terms);
}

fn check_terms<F: Stored>(device: &Device<F>) -> Result<(), Error> {
    // Log-probs up to ±`scale`: at 1e4, exponentials of x overflow.
    for (pairs, beta, per_gap, scale) in
        [(1, 0.1, 0.0, 5.0), (7, 0.1, 0.3, 20.0), (300, 0.5, 0.05, 3.0), (40, 1.0, 2.0, 1e4)]
    {
        let mut numbers = Numbers::new(pairs as u64);
        let [policy, reference] =
            [(); 2].map(|()| (0..2 * pairs).map(|_| scale * numbers.next()).collect::<Vec<f32>>());
        let gaps: Vec<f32> = (0..pairs).map(|_| numbers.below(5) as f32).collect();
        let [policy_there, reference_there, gaps_there] =
            [&policy, &reference, &gaps].map(|values| device.copy("known", values).unwrap());
        let known = Pairs { policy: &policy_there, reference: &reference_there, gaps: &gaps_there };
        let (mut terms, mut sum) = (device.room("terms", pairs)?, device.room("sum", 1)?);
        let mut coefficients = device.room("coefficients", 2 * pairs)?;
        let margin = Margin { beta, per_gap, total: pairs + 3 };
        margin::terms(device, [&mut terms, &mut coefficients, &mut sum], known, pairs, margin)?;
        let (mut expected, mut slopes) = (Vec::new(), Vec::new());
        let ratios: Vec<f64> =
            wide(&policy).iter().zip(wide(&reference)).map(|(policy, reference)| policy - reference).collect();
        for (ratios, gap) in ratios.chunks(2).zip(&gaps) {
            let x = f64::from(beta) * (ratios[0] - ratios[1]) - f64::from(per_gap * gap);
            expected.push((1.0 + (-x).exp()).ln().min(if x < -700.0 { -x } else { f64::INFINITY }));
            let slope = f64::from(beta) / (1.0 + x.exp()) / (pairs + 3) as f64;
            slopes.extend([-slope, slope]);
        }
        assert_close(&format!("terms of {pairs}"), &terms.read()?, &expected);
        assert_close(&format!("slopes of {pairs}"), &coefficients.read()?, &slopes);
        assert_close(&format!("sum of {pairs}"), &sum.read()?, &[expected.iter().sum()]);
    }
    Ok(())
}
