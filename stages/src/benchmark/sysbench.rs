//! `sysbench-scores`: sessions and rows {model, system_id, turn, verdict}.

use obvert_eval::sysbench::{Judged, Scores, Session, leave_out_cut_off};

use super::{Benchmark, ByModel, Cell, Grid, Named, Scorer, by_type};

pub(super) struct Sysbench;

impl Scorer for Sysbench {
    const STAGE: &'static str = "sysbench-scores";
    const ANSWER: &'static str = "verdict";
    type Row = Session;
    type Answer = Judged;
    type Scores = Scores;

    fn leave_out(rows: &[Session], answers: &mut Vec<Judged>) -> Vec<String> {
        leave_out_cut_off(rows, answers)
    }

    fn scores(rows: &[Session], answers: &[Judged]) -> Result<ByModel<Scores>, obvert_eval::Error> {
        obvert_eval::sysbench::scores(rows, answers)
    }

    fn shown(scores: &Named<Scores>) -> Benchmark {
        let mut grids = vec![whole(scores), run(scores), turns(scores)];
        let types: Vec<_> = scores.iter().map(|(model, of)| (model.clone(), of.csr_by_type.clone())).collect();
        grids.extend(by_type("CSR by type of constraint", &types));
        Benchmark { title: "SysBench", grids, notes: undecided(scores) }
    }
}

fn undecided(scores: &Named<Scores>) -> Vec<String> {
    let some = scores.iter().filter(|(_, of)| of.undecided > 0);
    let note = |(model, of): &(String, &Scores)| {
        format!("{} of {} verdicts on {model} are neither yes nor no", of.undecided, of.verdicts)
    };
    some.map(note).collect()
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

fn whole(scores: &Named<Scores>) -> Grid {
    let sessions = scores.iter().map(|(_, of)| of.sessions).max().unwrap_or_default();
    let columns: [Column; 5] = [
        ("CSR", |of| of.csr.into()),
        ("ISR, all yes", |of| of.all_yes.isr.into()),
        ("SSR, all yes", |of| of.all_yes.ssr.into()),
        ("ISR, no no", |of| of.no_no.isr.into()),
        ("SSR, no no", |of| of.no_no.ssr.into()),
    ];
    let of = "a turn is satisfied if all its verdicts are yes, or, as in the benchmark\u{2019}s table, if none is no";
    grid(scores, format!("{sessions} sessions; {of}"), &columns)
}

/// R1, R2, …
fn run(scores: &Named<Scores>) -> Grid {
    let longest = scores.iter().map(|(_, of)| of.no_no.r.len()).max().unwrap_or_default();
    let cells = |of: &Scores| (0..longest).map(|r| of.no_no.r.get(r).map(|share| (*share).into())).collect();
    Grid {
        caption: "Sessions whose first turns are satisfied (none is no)".into(),
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
    grid(scores, "By what the user wants, and by whether turns depend on each other (none is no)", &columns)
}
