//! SysBank's size through the reference pipeline, with a scripted model and a trainer that counts. A run that is killed goes on
//! when it is started again.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use obvert_api::Record;
use obvert_api::record::Pair;
use obvert_engine::pipeline::parse;
use obvert_engine::registry::Entry;
use obvert_engine::{Change, Options, Registry, Settled, View};
use obvert_stages::Findings;
use serde_json::{Value, json};

use crate::library;
use crate::memory::Watch;

/// Arguments of `sysbank`.
#[derive(clap::Args)]
pub struct Arguments {
    #[arg(long)]
    profiles: usize,
    /// Where inputs, state and results go; a run goes on from what it finds there.
    #[arg(long)]
    out: PathBuf,
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Only writes the inputs.
    #[arg(long)]
    prepare: bool,
}

const PIPELINE: &str = r#"
name = "sysbank"

[model.policy]
kind = "scripted"
[[model.policy.rule]]
match = "."
reply = '''{{ ["Today it is good.", "well, that is so", "Bread? 5 loaves, friend!", "It is good, and it is warm. It is there. So it is! Yes."] | pick }}
{%- for _ in range(3) %} {{ ["I know it well", "and you know it too", "my friend", "there are 7 of them,", "or not"] | pick }}{% endfor %}'''

[stage.profiles]
type = "profiles"
path = "profiles.jsonl"

[stage.personas]
type = "personas"
path = "personas.jsonl"

[stage.session]
type = "session"
from = "profiles"
with = "personas"

[stage.play]
type = "persona-play"
from = ["session", "next"]

[stage.respond]
type = "respond"
from = "play"
model = "policy"
samples = 5

[stage.judge]
type = "judge"
from = "respond"

[stage.next]
type = "next"
from = "judge"
turns = 5

[stage.reverse]
type = "reverse"
from = "profiles"

[stage.pair]
type = "pair"
from = "judge"
with = "reverse"

[stage.verify]
type = "verify"
from = "pair"

[stage.train]
type = "count"
from = "verify"
"#;

/// Constraints that a program decides; each profile has six of them.
const CONSTRAINTS: [(&str, &str); 9] = [
    ("Write at most 16 words.", r#"{"type": "words", "at_most": 16}"#),
    ("Your first word must be \"Today\".", r#"{"type": "begins_with", "word": "Today"}"#),
    ("Do not use any commas.", r#"{"type": "comma", "negated": true}"#),
    ("Do not use the word \"friend\".", r#"{"type": "contains", "word": "friend", "negated": true}"#),
    ("Digits must not appear.", r#"{"type": "digit", "negated": true}"#),
    ("Give an answer of 9 or more words.", r#"{"type": "words", "at_least": 9}"#),
    ("Answer in no more than 2 sentences.", r#"{"type": "sentences", "at_most": 2}"#),
    ("Use the word \"know\".", r#"{"type": "contains", "word": "know"}"#),
    ("Use at least one digit.", r#"{"type": "digit"}"#),
];

pub fn run(arguments: &Arguments) -> anyhow::Result<Value> {
    std::fs::create_dir_all(&arguments.out)?;
    prepare(arguments)?;
    if arguments.prepare {
        return Ok(json!({ "part": "sysbank", "profiles": arguments.profiles }));
    }
    let counted = Arc::new(Mutex::new(Count::default()));
    let registry = registry(&counted)?;
    let path = arguments.out.join("sysbank.toml");
    let document = parse(&path, PIPELINE, &[]).map_err(|e| anyhow::anyhow!("{e}"))?;
    let mut plan = document.resolve(&registry).map_err(|e| anyhow::anyhow!("{e}"))?;
    plan.run.workers = arguments.workers;
    let memory = Watch::start();
    let outcome = obvert_engine::run(plan, &registry, &Options::new(arguments.out.join("out")), |_| ())?;
    let quarters = memory.quarters();
    let stages: HashMap<_, _> = outcome.stages.iter().map(|stage| (&*stage.name, stage)).collect();
    anyhow::ensure!(
        outcome.stages.iter().all(|stage| stage.inputs == stage.done + stage.rejected),
        "not all is accounted for"
    );
    let responses = stages["judge"].done;
    let count = counted.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(json!({
        "part": "sysbank", "profiles": arguments.profiles, "workers": arguments.workers,
        "turns": stages["play"].outputs, "responses": responses, "verdicts": responses * 6,
        "calls": stages["respond"].calls, "from_memo": stages["respond"].memo_hits,
        "pairs": count.pairs, "checksum": format!("{:016x}", count.sum),
        "seconds": outcome.elapsed.as_secs_f64(), "peak_mb_by_quarter": quarters,
    }))
}

fn registry(counted: &Arc<Mutex<Count>>) -> anyhow::Result<Registry> {
    let mut registry = Registry::new();
    obvert_stages::register(&mut registry, &Findings::default());
    for name in ["persona_play", "judge", "reverse", "pair"] {
        registry.add_library(&library(name)?)?;
    }
    let counted = Arc::clone(counted);
    let open = move |_: &Value, _: &_| Ok(Box::new(Counting(Arc::clone(&counted))) as Box<dyn View>);
    registry.add("count", Entry::view(Pair::NAME, json!({ "type": "object" }), Arc::new(open)));
    Ok(registry)
}

/// Pairs, and what tells one set of them from another whatever their order.
#[derive(Default)]
struct Count {
    pairs: i64,
    sum: u64,
}

struct Counting(Arc<Mutex<Count>>);

impl View for Counting {
    fn update(&mut self, changes: Vec<Change>, _: Settled) -> Result<(), String> {
        let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for Change { record, diff, .. } in changes {
            count.pairs += diff as i64;
            let hash = record
                .iter()
                .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
            count.sum = count.sum.wrapping_add(hash.wrapping_mul(diff as u64));
        }
        Ok(())
    }
}

fn prepare(arguments: &Arguments) -> anyhow::Result<()> {
    let profiles = arguments.out.join("profiles.jsonl");
    if !profiles.exists() {
        write(&profiles, (0..arguments.profiles).map(profile))?;
        let persona = json!({ "id": "u1", "queries": ["What is bread?", "And tea?", "And the sea?", "And the moon?", "And cats?"] });
        write(&arguments.out.join("personas.jsonl"), [persona].into_iter())?;
    }
    Ok(())
}

fn write(path: &Path, rows: impl Iterator<Item = Value>) -> anyhow::Result<()> {
    let part = path.with_extension("part");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&part)?);
    for row in rows {
        writeln!(file, "{row}")?;
    }
    file.into_inner()?.sync_all()?;
    Ok(std::fs::rename(part, path)?)
}

/// Six of the constraints, other ones from profile to profile.
fn profile(number: usize) -> Value {
    let constraint = |nth: usize| {
        let (text, check) = CONSTRAINTS[(number + nth) % CONSTRAINTS.len()];
        let check: Value = serde_json::from_str(check).unwrap_or_default();
        json!({ "id": format!("c{nth}"), "text": text, "check": check })
    };
    json!({
        "id": format!("p{number:05}"), "name": "Leo", "skills": [],
        "description": format!("You are Leo, carpenter number {number} of a large town. You never rush, and you like to be asked."),
        "constraints": (0..6).map(constraint).collect::<Vec<_>>(),
    })
}
