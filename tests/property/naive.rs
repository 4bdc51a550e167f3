//! What a pipeline of toys makes of its inputs, by the book: stage after stage, everything at once, nothing kept.

use std::collections::{BTreeMap, HashMap};

use obvert_api::record::Message;
use obvert_api::serde::de::DeserializeOwned;
use obvert_api::{Group, Json, Map, Output, Reply, Request};
use obvert_toys::{Ask, Collect, Gather, Shift};
use serde_json::{Value, json};

use crate::pipeline::{Does, Input, Pipeline, Stage};

/// Replies by what was asked.
pub type Replies = HashMap<String, String>;

/// What a run leaves: the records of each stage that has a sink, in some order, and what each stage set aside and why.
#[derive(Debug, Default, PartialEq)]
pub struct Left {
    pub records: BTreeMap<usize, Vec<String>>,
    pub rejected: Vec<(String, String)>,
}

/// `sources` holds the lines of each.
pub fn evaluate(pipeline: &Pipeline, sources: &[Vec<String>; 2], replies: &Replies) -> Left {
    let mut left = Left::default();
    let mut rows: [Vec<Json>; 2] = [Vec::new(), Vec::new()];
    for ((lines, rows), name) in sources.iter().zip(&mut rows).zip(crate::pipeline::SOURCES) {
        for line in lines {
            match serde_json::from_str(line) {
                Ok(row) => rows.push(Json(row)),
                Err(_) => left.rejected.push((name.into(), "not JSON".into())),
            }
        }
    }
    let mut made: Vec<Vec<Json>> = Vec::new();
    for (index, stage) in pipeline.stages.iter().enumerate() {
        let of = |input: &Input| match input {
            Input::Source(source) => rows[*source].clone(),
            Input::Stage(stage) => made[*stage].clone(),
        };
        let inputs: Vec<Json> = stage.from.iter().flat_map(of).collect();
        let sides: Vec<Json> = stage.with.iter().flat_map(of).collect();
        let (records, rejected) = run(stage, index, inputs, &sides, replies);
        left.rejected.extend(rejected.into_iter().map(|reason| (format!("s{index}"), reason)));
        made.push(records);
    }
    for index in pipeline.ends() {
        left.records.insert(index, sorted(made[index].iter().map(|record| record.0.to_string())));
    }
    left.rejected.sort();
    left
}

pub fn sorted(records: impl Iterator<Item = String>) -> Vec<String> {
    let mut records: Vec<_> = records.collect();
    records.sort();
    records
}

type Outcome = (Vec<Json>, Vec<String>);

fn run(stage: &Stage, index: usize, inputs: Vec<Json>, sides: &[Json], replies: &Replies) -> Outcome {
    let model = json!({ "model": "m" });
    match stage.does {
        Does::Shift(by) => map::<Shift>(json!({ "by": by }), inputs, replies),
        Does::Ask => map::<Ask>(model, inputs, replies),
        Does::Gather => group::<Gather>(json!({ "name": format!("g{index}") }), inputs, sides, replies),
        Does::Collect => group::<Collect>(model, inputs, sides, replies),
    }
}

fn made<S: DeserializeOwned>(settings: Value) -> S {
    serde_json::from_value(settings).unwrap()
}

fn map<S: Map<In = Json, Out = Json>>(settings: Value, inputs: Vec<Json>, replies: &Replies) -> Outcome {
    let stage: S = made(settings);
    collected(inputs.into_iter().map(|input| answered(replies, |told, out| stage.map(input.clone(), told, out))))
}

fn group<S>(settings: Value, inputs: Vec<Json>, sides: &[Json], replies: &Replies) -> Outcome
where
    S: Group<In = Json, With = Json, Out = Json>,
{
    let stage: S = made(settings);
    let mut groups: BTreeMap<String, Vec<Json>> = BTreeMap::new();
    inputs.into_iter().for_each(|input| groups.entry(stage.key(&input)).or_default().push(input));
    collected(groups.into_iter().map(|(key, members)| {
        let wanted: Vec<_> = members.iter().filter_map(|member| stage.looks_up(member)).collect();
        let sides: Vec<_> = sides.iter().filter(|side| wanted.contains(&stage.with_key(side))).cloned().collect();
        answered(replies, |told, out| stage.group(&key, members.clone(), sides.clone(), told, out))
    }))
}

/// Runs a stage until it asks for nothing more.
fn answered(
    replies: &Replies,
    run: impl Fn(&[Reply], &mut Output<Json>) -> Result<(), obvert_api::Error>,
) -> Result<Vec<Json>, String> {
    let mut told = Vec::new();
    loop {
        let mut out = Output::default();
        run(&told, &mut out).map_err(|error| error.0)?;
        if out.requests().is_empty() {
            return Ok(out.emitted().to_vec());
        }
        for request in out.requests() {
            told.push(reply(request, replies)?);
        }
    }
}

fn reply(request: &Request, replies: &Replies) -> Result<Reply, String> {
    let [Message { content, .. }] = &request.messages[..] else { panic!("toys ask one thing") };
    // The script has no rule for it.
    if content.starts_with("what of k9") {
        return Err("no rule".into());
    }
    let text = replies.get(content).cloned().unwrap_or_else(|| "nobody was asked".into());
    Ok(Reply { text, prompt_tokens: 0, reply_tokens: 0, finished: true })
}

fn collected(results: impl Iterator<Item = Result<Vec<Json>, String>>) -> Outcome {
    let (mut records, mut rejected) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(made) => records.extend(made),
            Err(reason) => rejected.push(reason),
        }
    }
    (records, rejected)
}
