//! The difference of two adherence vectors and the six cases of the paper's noise analysis (arXiv 2505.22172).
//!
//! Both look only at constraints that are decided in both vectors.

use obvert_api::record::Judged;
use obvert_api::schemars::JsonSchema;
use obvert_api::serde::Deserialize;

/// What the difference g of two responses is.
#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(crate = "obvert_api::serde", rename_all = "lowercase")]
#[schemars(crate = "obvert_api::schemars")]
pub(crate) enum Difference {
    /// Constraints decided in both and differing, as in RPO.
    #[default]
    Hamming,
    /// How many more the one satisfies than the other: 0 for many that differ.
    Score,
}

impl Difference {
    /// g of two responses.
    pub(crate) fn of(self, first: &Judged, second: &Judged) -> u32 {
        let (first, second) = (first.adherence(), second.adherence());
        match self {
            Difference::Hamming => difference(&first, &second),
            Difference::Score => {
                let (first, second) = scores(&first, &second);
                first.abs_diff(second)
            }
        }
    }
}

/// How many of the constraints that are decided in both each satisfies.
pub(crate) fn scores(a: &[Option<bool>], b: &[Option<bool>]) -> (u32, u32) {
    both(a, b).fold((0, 0), |(first, second), (a, b)| (first + u32::from(a), second + u32::from(b)))
}

/// g: the number of constraints decided in both and differing.
pub(crate) fn difference(a: &[Option<bool>], b: &[Option<bool>]) -> u32 {
    both(a, b).filter(|(a, b)| a != b).count() as u32
}

/// The case of the unordered pair: 1 and 2 for equal scores, 3 to 6 for different ones, where the higher score is the
/// one that score-based pairing would choose.
pub(crate) fn case(a: &[Option<bool>], b: &[Option<bool>]) -> u8 {
    let score = |pick: fn(&(bool, bool)) -> bool| both(a, b).filter(pick).count();
    let (score_a, score_b, shared) = (score(|p| p.0), score(|p| p.1), score(|p| p.0 && p.1));
    let (higher, lower) = (score_a.max(score_b), score_a.min(score_b));
    match () {
        () if higher == lower => {
            if shared == 0 {
                1
            } else {
                2
            }
        }
        () if shared == lower => {
            if higher == both(a, b).count() {
                6
            } else {
                5
            }
        }
        () => {
            if shared == 0 {
                3
            } else {
                4
            }
        }
    }
}

fn both<'a>(a: &'a [Option<bool>], b: &'a [Option<bool>]) -> impl Iterator<Item = (bool, bool)> + 'a {
    a.iter().zip(b).filter_map(|(a, b)| Some(((*a)?, (*b)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(a: &str, b: &str, g: u32, expected: u8) {
        let read = |text: &str| -> Vec<Option<bool>> {
            text.chars()
                .map(|c| match c {
                    '1' => Some(true),
                    '0' => Some(false),
                    _ => None,
                })
                .collect()
        };
        let (a, b) = (read(a), read(b));
        assert_eq!((difference(&a, &b), case(&a, &b)), (g, expected), "{a:?} {b:?}");
        assert_eq!((difference(&b, &a), case(&b, &a)), (g, expected), "the order must not matter");
    }

    #[test]
    fn the_six_cases() {
        check("10", "01", 2, 1);
        check("110", "101", 2, 2);
        check("1100", "0010", 3, 3);
        check("1101", "0011", 3, 4);
        check("110", "010", 1, 5);
        check("11", "01", 1, 6);
    }

    #[test]
    fn what_is_undecided_in_either_does_not_count() {
        check("11-", "010", 1, 6);
        check("1-0", "-10", 0, 1);
    }
}
