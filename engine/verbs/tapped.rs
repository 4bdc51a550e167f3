//! A run that is looked at: its sinks are left out, nothing is trained, and what every stage makes is kept to be shown.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use obvert_engine::pipeline::{Plan, StagePlan};
use obvert_engine::registry::{Body, Entry};
use obvert_engine::{Change, Options, Outcome, Registry, RunContext, Settled, View};
use serde_json::{Value, json};

/// The type of the stages that look; no plugin's is called so.
const TAP: &str = " tap";

/// Records of each stage as JSON, by root and bytes, with their copies.
type Seen = BTreeMap<String, BTreeMap<(u64, String), isize>>;

/// What a run made.
pub struct Tapped {
    pub outcome: Outcome,
    /// The records of each stage that makes any, in their order.
    pub records: Vec<(String, Vec<Value>)>,
    /// Items that were set aside: stage, reason, item.
    pub rejected: Vec<(String, String, Value)>,
}

/// What becomes of stages that train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Training {
    /// They are left out, and what depends on them.
    LeftOut,
    /// They train nothing, and hand out the model as it is.
    None,
}

/// Runs a plan.
pub fn run(plan: &Plan, registry: &Registry, options: &Options, training: Training) -> anyhow::Result<Tapped> {
    let (mut registry, seen) = (registry.clone(), Arc::new(Mutex::new(Seen::new())));
    let kept = Arc::clone(&seen);
    let open = move |_: &Value, context: &RunContext| {
        let name = context.plan.stages.iter().find(|stage| stage.name == context.stage);
        let from = name.and_then(|stage| stage.from.first()).map(|from| context.plan.stages[*from].name.clone());
        let tap = Tap { stage: from.unwrap_or_default(), show: Arc::clone(&context.to_json), seen: Arc::clone(&kept) };
        Ok(Box::new(tap) as Box<dyn View>)
    };
    if training == Training::None {
        obvert_stages::leave_untrained(&mut registry);
    }
    registry.add(TAP, Entry::view("*", json!({ "type": "object" }), Arc::new(open)));
    let tapped = with_taps(plan, &registry, training);
    let names: Vec<String> =
        tapped.stages.iter().filter(|stage| stage.kind != TAP).map(|stage| stage.name.clone()).collect();
    let outcome = obvert_engine::run(tapped, &registry, options, |_| ())?;
    let mut seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    let records = |name: String| {
        let rows = seen.remove(&name).unwrap_or_default().into_iter();
        let rows = rows.flat_map(|((_, text), copies)| std::iter::repeat_n(text, usize::try_from(copies).unwrap_or(0)));
        let rows = rows.map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text)));
        (name, rows.collect())
    };
    let records = names.into_iter().map(records).collect();
    Ok(Tapped { outcome, records, rejected: rejected(&options.out)? })
}

/// The plan without its sinks, and with a stage that looks behind each that is left.
fn with_taps(plan: &Plan, registry: &Registry, training: Training) -> Plan {
    let leaves = |entry: &Entry| {
        matches!(entry.body, Body::View(_)) && (training == Training::LeftOut || entry.output.is_none())
    };
    let is_left_out = |stage: &StagePlan| registry.entry(&stage.kind).is_none_or(leaves);
    // What is made in step with training does without it.
    let in_step = |stage: &StagePlan| registry.entry(&stage.kind).is_some_and(|entry| entry.lag.is_some());
    let sides = |stage: &'_ StagePlan| if in_step(stage) { Vec::new() } else { stage.with.clone() };
    let mut gone: Vec<bool> = plan.stages.iter().map(is_left_out).collect();
    while let Some(next) = (0..gone.len()).find(|at| {
        let stage = &plan.stages[*at];
        !gone[*at] && !stage.from.is_empty() && stage.from.iter().chain(&sides(stage)).any(|from| gone[*from])
    }) {
        gone[next] = true;
    }
    let place: Vec<usize> =
        gone.iter().scan(0, |next, gone| Some(std::mem::replace(next, *next + usize::from(!gone)))).collect();
    let moved = |inputs: &[usize]| inputs.iter().map(|input| place[*input]).collect::<Vec<_>>();
    let left = plan.stages.iter().zip(&gone).filter(|(_, gone)| !**gone).map(|(stage, _)| stage);
    let mut stages: Vec<StagePlan> =
        left.map(|stage| StagePlan { from: moved(&stage.from), with: moved(&sides(stage)), ..stage.clone() }).collect();
    let taps: Vec<StagePlan> = stages.iter().enumerate().map(|(from, stage)| tap(from, stage)).collect();
    stages.extend(taps);
    Plan { stages, ..plan.clone() }
}

fn tap(from: usize, stage: &StagePlan) -> StagePlan {
    StagePlan {
        name: format!("{TAP} {}", stage.name),
        kind: TAP.into(),
        from: vec![from],
        with: Vec::new(),
        settings: json!({}),
        isolation: None,
        location: stage.location.clone(),
    }
}

struct Tap {
    stage: String,
    show: obvert_engine::ToJson,
    seen: Arc<Mutex<Seen>>,
}

impl View for Tap {
    fn update(&mut self, changes: Vec<Change>, _: Settled) -> Result<(), String> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = seen.entry(self.stage.clone()).or_default();
        for Change { root, record, diff } in changes {
            let text = String::from_utf8((self.show)(&record)?).map_err(|error| error.to_string())?;
            let copies = rows.entry((root, text.clone())).or_insert(0);
            *copies += diff;
            if *copies == 0 {
                rows.remove(&(root, text));
            }
        }
        Ok(())
    }
}

fn rejected(out: &Path) -> anyhow::Result<Vec<(String, String, Value)>> {
    let path = out.join("rejected.jsonl");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line)?;
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        Ok((text("stage"), text("reason"), row["item"].clone()))
    };
    text.lines().map(row).collect()
}
