//! What the sinks of pairs hold: counts before and after reversal, and pairs side by side.

use obvert_api::record::{Pair, PairConstraint};
use serde::Serialize;

use crate::findings::SetOfPairs;
use crate::output::side_by_side::under_both;
use crate::output::{CASES, Case, PairsSummary};

#[derive(Serialize)]
pub(super) struct Set<'a> {
    stage: &'a str,
    counts: &'a PairsSummary,
    cases: Vec<CaseLine>,
    differences: Vec<Bar<u32>>,
    /// Training pairs that are of no case under their own prompt.
    no_case: u64,
    examples: Vec<Example<'a>>,
}

/// A case: how many pairs of responses were it, and how many training pairs are.
#[derive(Serialize)]
struct CaseLine {
    of: &'static Case,
    before: Bar<()>,
    after: Bar<()>,
}

/// One bar of a histogram.
#[derive(Serialize)]
struct Bar<T> {
    of: T,
    count: u64,
    /// Of all, 0 to 1.
    share: f64,
}

#[derive(Serialize)]
struct Example<'a> {
    pair: &'a Pair,
    query: &'a str,
    reversed: bool,
    clean: bool,
    constraints: Vec<Line<'a>>,
}

/// A constraint of the example, its verdicts in words.
#[derive(Serialize)]
struct Line<'a> {
    constraint: &'a PairConstraint,
    chosen: String,
    rejected: String,
}

pub(super) fn set<'a>(stage: &'a str, set: &'a SetOfPairs) -> Set<'a> {
    let counts = &set.summary;
    let cases = CASES.iter().zip(counts.by_case).zip(counts.after);
    Set {
        stage,
        counts,
        cases: cases
            .map(|((of, before), after)| CaseLine {
                of,
                before: bar((), before, counts.unordered),
                after: bar((), after, counts.pairs),
            })
            .collect(),
        differences: counts.by_g.iter().map(|(g, count)| bar(*g, *count, counts.unordered)).collect(),
        no_case: counts.pairs - counts.after.iter().sum::<u64>().min(counts.pairs),
        examples: set.examples.iter().map(example).collect(),
    }
}

fn bar<T>(of: T, count: u64, all: u64) -> Bar<T> {
    Bar { of, count, share: count as f64 / all.max(1) as f64 }
}

fn example(pair: &Pair) -> Example<'_> {
    let line = |constraint| Line {
        constraint,
        chosen: under_both(constraint, constraint.chosen),
        rejected: under_both(constraint, constraint.rejected),
    };
    Example {
        pair,
        query: pair.prompt.last().map_or("", |message| message.content.as_str()),
        reversed: pair.constraints.iter().any(|constraint| constraint.reversed),
        clean: pair.clean().is_ok(),
        constraints: pair.constraints.iter().map(line).collect(),
    }
}
