//! `sysbench-scores`: sessions and rows {model, system_id, turn, verdict}.

use obvert_eval::sysbench::{Judged, Scores, Session};

use super::{Benchmark, ByModel, Cell, Grid, Named, Scorer, by_type};

pub(super) struct Sysbench;

impl Scorer for Sysbench {
    const STAGE: &'static str = "sysbench-scores";
    const ANSWER: &'static str = "verdict";
    const FILE: &'static str = "sysbench.json";
    type Row = Session;
    type Answer = Judged;
    type Scores = Scores;

    fn scores(rows: &[Session], answers: &[Judged]) -> Result<ByModel<Scores>, obvert_eval::Error> {
        obvert_eval::sysbench::scores(rows, answers)
    }

    fn shown(scores: &Named<Scores>, rows: usize) -> Benchmark {
        let mut grids = vec![whole(scores, rows), run(scores), turns(scores)];
        let types: Vec<_> = scores.iter().map(|(model, of)| (model.clone(), of.csr_by_type.clone())).collect();
        grids.extend(by_type("CSR by type of constraint", &types));
        let terms = "CSR: verdicts yes, of all. ISR: turns that are satisfied. SSR: share of a session\u{2019}s turns before the first that is \
                     not satisfied, averaged over sessions; R1, R2, …: sessions whose first turns are all satisfied. A turn is satisfied \
                     if all its verdicts are yes (undecided as no) or, as in the benchmark\u{2019}s own table, if none is no (undecided as \
                     yes). Aligned: the user wants what the system prompt wants.";
        Benchmark { title: "SysBench", terms, grids, notes: Vec::new() }
    }

    fn notes(model: &str, scores: &Scores, _: usize) -> Vec<String> {
        scores.notes(model)
    }
}

/// A column: its name and what stands in it.
type Column = (&'static str, fn(&Scores) -> Cell);

fn grid(scores: &Named<Scores>, caption: impl Into<String>, columns: &[Column]) -> Grid {
    let cells = |of: &Scores| columns.iter().map(|(_, cell)| Some(cell(of))).collect();
    Grid {
        caption: caption.into(),
        head: "Model",
        columns: columns.iter().map(|(name, _)| (*name).to_owned()).collect(),
        rows: scores.iter().map(|(model, of)| (model.clone(), cells(of))).collect(),
    }
}

fn whole(scores: &Named<Scores>, rows: usize) -> Grid {
    let columns: [Column; 5] = [
        ("CSR", |of| of.csr.into()),
        ("ISR, undecided as no", |of| of.all_yes.isr.into()),
        ("SSR, undecided as no", |of| of.all_yes.ssr.into()),
        ("ISR, undecided as yes", |of| of.no_no.isr.into()),
        ("SSR, undecided as yes", |of| of.no_no.ssr.into()),
    ];
    grid(scores, format!("{rows} sessions"), &columns)
}

/// R1, R2, …
fn run(scores: &Named<Scores>) -> Grid {
    let longest = scores.iter().map(|(_, of)| of.no_no.r.len()).max().unwrap_or_default();
    let cells = |of: &Scores| (0..longest).map(|r| of.no_no.r.get(r).map(|share| (*share).into())).collect();
    Grid {
        caption: "Sessions whose first turns are satisfied (undecided as yes)".into(),
        head: "Model",
        columns: (1..=longest).map(|r| format!("R{r}")).collect(),
        rows: scores.iter().map(|(model, of)| (model.clone(), cells(of))).collect(),
    }
}

fn turns(scores: &Named<Scores>) -> Grid {
    let columns: [Column; 4] = [
        ("ISR, aligned", |of| of.no_no.isr_aligned.into()),
        ("ISR, misaligned", |of| of.no_no.isr_misaligned.into()),
        ("SSR, dependent", |of| of.no_no.ssr_dependent.into()),
        ("SSR, parallel", |of| of.no_no.ssr_parallel.into()),
    ];
    grid(scores, "By what the user wants, and by whether turns depend on each other (undecided as yes)", &columns)
}
