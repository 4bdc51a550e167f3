//! Generated text against the numeric fixtures, and against itself: alone, together, under a tight memory limit.

// Helpers of tests are tests too, which clippy's configuration cannot see.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{MODELS, fill, fixture, random_model, shared, tiny_config};
use obvert_trainer::generate::{self, Generated, Job, Outcome, Sampling, generate_within};
use obvert_trainer::{Adapter, Error, LoraSettings, Model, logits};
use serde_json::json;

fn greedy(max_tokens: usize) -> Sampling {
    Sampling { temperature: 0.0, top_p: 1.0, max_tokens, seed: 0 }
}

fn drawn(seed: u64, max_tokens: usize) -> Sampling {
    Sampling { temperature: 1.0, top_p: 0.95, max_tokens, seed }
}

fn tiny() -> (Model, Adapter) {
    let config = tiny_config(json!({ "num_attention_heads": 4, "num_key_value_heads": 2 }));
    let model = random_model(&config, 11);
    let mut adapter = Adapter::new(&config, &LoraSettings::default(), 5).unwrap();
    fill(&mut adapter, 7);
    (model, adapter)
}

/// What every job gives, where all can be taken.
fn generate(
    model: &Model,
    adapter: Option<&Adapter>,
    jobs: &[Job],
    stop: &[u32],
) -> Result<Vec<Vec<Generated>>, Error> {
    generate::generate(model, adapter, jobs, stop).map(taken)
}

fn taken(outcomes: Vec<Outcome>) -> Vec<Vec<Generated>> {
    outcomes.into_iter().map(Result::unwrap).collect()
}

/// Jobs of different lengths, with several samples each.
fn jobs() -> Vec<Job> {
    let job = |index: usize| Job {
        prompt: (0..3 + 5 * index).map(|i| ((i * 7 + index) % 37) as u32).collect(),
        samples: (0..5).map(|sample| drawn((10 * index + sample) as u64, 4 + 3 * sample + index)).collect(),
    };
    (0..4).map(job).collect()
}

#[test]
fn greedy_continuations_match_the_reference() {
    let Some(shared) = shared("greedy_continuations_match_the_reference") else { return };
    for name in MODELS {
        let fixture = fixture::<f32>(&shared, name);
        for (key, adapter) in [("greedy_policy", Some(&fixture.adapter)), ("greedy_reference", None)] {
            let expected: Vec<u32> = serde_json::from_value(fixture.json[key]["new_ids"].clone()).unwrap();
            let pair = fixture.json[key]["prompt_of_pair"].as_u64().unwrap() as usize;
            let job = Job { prompt: fixture.batch.pairs[pair].prompt.clone(), samples: vec![greedy(expected.len())] };
            let found = generate(&fixture.model, adapter, &[job], &[]).unwrap();
            assert_eq!(found, [[Generated { tokens: expected, finished: false }]], "{name} {key}");
        }
    }
}

#[test]
fn together_alone_and_in_little_memory_are_the_same() {
    let (model, adapter) = tiny();
    let jobs = jobs();
    for adapter in [None, Some(&adapter)] {
        let together = generate(&model, adapter, &jobs, &[3]).unwrap();
        let alone = |job: &Job, sampling: &Sampling| {
            let job = Job { prompt: job.prompt.clone(), samples: vec![sampling.clone()] };
            generate(&model, adapter, &[job], &[3]).unwrap().remove(0).remove(0)
        };
        let singles: Vec<Vec<Generated>> =
            jobs.iter().map(|job| job.samples.iter().map(|sampling| alone(job, sampling)).collect()).collect();
        assert_eq!(together, singles);
        // Room for the longest sequence (37 tokens) and little more: 2 layers of 2 heads of 6 keys and values.
        let budget = 45 * 2 * 2 * 6 * 2 * 4;
        assert_eq!(taken(generate_within(&model, adapter, &jobs, &[3], budget).unwrap()), together);
    }
}

#[test]
fn greedy_text_is_the_argmax_of_the_forward_pass() {
    let (model, adapter) = tiny();
    let job = Job { prompt: vec![1, 2, 3], samples: vec![greedy(20)] };
    let mut text = job.prompt.clone();
    let found = generate(&model, Some(&adapter), &[job], &[]).unwrap();
    for token in &found[0][0].tokens {
        let logits = logits(&model, Some(&adapter), &text);
        let last = &logits.data[logits.data.len() - logits.cols..];
        let best = (0..last.len()).max_by(|a, b| last[*a].total_cmp(&last[*b])).unwrap();
        assert_eq!(best as u32, *token);
        text.push(*token);
    }
    assert_eq!(text.len(), 23);
}

#[test]
fn seeds_decide_and_stop_tokens_end() {
    let (model, _) = tiny();
    let samples = |seeds: [u64; 3]| Job { prompt: vec![5, 6], samples: seeds.map(|seed| drawn(seed, 30)).to_vec() };
    let [found, again, swapped] = [[1, 2, 1], [1, 2, 1], [2, 1, 2]]
        .map(|seeds| generate(&model, None, &[samples(seeds)], &[]).unwrap().remove(0));
    assert_eq!(found, again);
    assert_eq!(found[0], found[2]);
    assert_ne!(found[0], found[1]);
    assert_eq!(swapped, [found[1].clone(), found[0].clone(), found[1].clone()]);
    let stop = found[0].tokens[7];
    let first = found[0].tokens.iter().position(|token| *token == stop).unwrap();
    let stopped = generate(&model, None, &[samples([1, 1, 1])], &[stop]).unwrap().remove(0);
    assert_eq!(stopped[0], Generated { tokens: found[0].tokens[..first].to_vec(), finished: true });
}

#[test]
fn little_probability_is_the_likeliest_token() {
    let (model, _) = tiny();
    let narrow = Sampling { temperature: 1.0, top_p: 1e-6, max_tokens: 12, seed: 3 };
    let found = generate(&model, None, &[Job { prompt: vec![9], samples: vec![narrow, greedy(12)] }], &[]).unwrap();
    assert_eq!(found[0][0], found[0][1]);
}

#[test]
fn the_fullest_context_is_possible() {
    let (model, _) = tiny();
    let job = |max_tokens| Job { prompt: vec![1; 200], samples: vec![greedy(max_tokens)] };
    assert_eq!(generate(&model, None, &[job(56)], &[]).unwrap()[0][0].tokens.len(), 56);
    assert_eq!(generate(&model, None, &[job(0)], &[]).unwrap(), [[Generated::default()]]);
    assert_eq!(generate(&model, None, &[], &[]).unwrap(), Vec::<Vec<Generated>>::new());
}

#[test]
fn what_cannot_be_generated_is_refused() {
    let (model, _) = tiny();
    let job = |prompt: Vec<u32>, sampling| Job { prompt, samples: vec![sampling] };
    let cases = [
        (job(vec![], greedy(1)), "job 1: the prompt is empty"),
        (job(vec![1, 37], greedy(1)), "job 1: token 37 is not in the vocabulary of 37"),
        (job(vec![1; 200], greedy(57)), "a prompt of 200 tokens and an answer of 57 exceed the model's 256 positions"),
        (job(vec![1], greedy(usize::MAX)), "exceed the model's 256 positions"),
        (job(vec![1], Sampling { temperature: f32::NAN, ..greedy(1) }), "temperature NaN"),
        (job(vec![1], Sampling { top_p: 0.0, ..greedy(1) }), "top_p 0"),
    ];
    let good = job(vec![1], greedy(2));
    let alone = generate(&model, None, std::slice::from_ref(&good), &[]).unwrap();
    for (wrong, expected) in cases {
        // The others get what they would get without it.
        let found = generate::generate(&model, None, &[good.clone(), wrong, good.clone()], &[]).unwrap();
        assert_eq!([&found[0], &found[2]].map(|samples| samples.as_ref().unwrap()), [&alone[0]; 2]);
        let message = found[1].as_ref().unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    let jobs = [job(vec![1; 9], greedy(1)), job(vec![1; 2], greedy(1))];
    let found = generate_within(&model, None, &jobs, &[], 1_000).unwrap();
    let message = found[0].as_ref().unwrap_err().to_string();
    assert!(
        message.contains("job 0: one sample's keys and values take 1920 bytes, over the limit of 1000"),
        "{message}"
    );
    assert!(found[1].is_ok());
    let other = tiny_config(json!({ "num_hidden_layers": 3 }));
    let adapter = Adapter::new(&other, &LoraSettings::default(), 5).unwrap();
    assert!(generate(&model, Some(&adapter), &[], &[]).unwrap_err().to_string().contains("3 blocks"));
}

#[test]
fn broken_weights_are_noticed() {
    let (mut model, _) = tiny();
    model.final_norm[0] = f32::NAN;
    let message =
        generate(&model, None, &[Job { prompt: vec![1], samples: vec![greedy(3)] }], &[]).unwrap_err().to_string();
    assert!(message.contains("job 0: the model's logits are not finite"), "{message}");
}
