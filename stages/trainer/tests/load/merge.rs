//! A merged model says what its base says with the adapter.

use std::fs;
use std::path::{Path, PathBuf};

use obvert_trainer::load::{Checkpoint, Dialect, Message};
use obvert_trainer::merge::{WeightType, merge};
use obvert_trainer::{Adapter, LoraSettings, logprobs};

use crate::common::{MODELS, chosen_and_rejected, fill, json, random_pairs, relative_l2, shared};
use crate::gguf;

fn quickstart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/quickstart/model")
}

fn adapter(checkpoint: &Checkpoint) -> Adapter {
    let mut adapter = Adapter::new(&checkpoint.config, &LoraSettings::default(), 1).unwrap();
    fill(&mut adapter, 2);
    adapter
}

/// Merges an adapter into a model and gives how far off the log-probs are, relative, and how far the adapter moved them.
fn distances(model: &Path, out: &Path, kind: WeightType) -> (f64, f64) {
    let checkpoint = Checkpoint::open(model).unwrap();
    let adapter = adapter(&checkpoint);
    let left_out = merge(&checkpoint, &adapter, out, kind).unwrap();
    assert!(left_out.iter().all(|error| error.to_string().starts_with("tokenizer.json")), "{left_out:?}");
    let pairs = random_pairs(3, checkpoint.config.vocab_size, [9, 7, 5], 3);
    let said = |path: &Path, adapter| {
        let model = Checkpoint::open(path).unwrap().model().unwrap();
        chosen_and_rejected(&logprobs(&model, adapter, &pairs).unwrap()).concat()
    };
    let expected = said(model, Some(&adapter));
    (relative_l2(&said(out, None), &expected), relative_l2(&said(model, None), &expected))
}

#[test]
fn a_merged_folder_says_what_base_and_adapter_say() {
    let scratch = tempfile::tempdir().unwrap();
    for (kind, name, tolerance) in
        [(WeightType::F32, "float32", 1e-6), (WeightType::F16, "float16", 1e-4), (WeightType::Bf16, "bfloat16", 1e-3)]
    {
        let out = scratch.path().join(name);
        let (off, moved) = distances(&quickstart(), &out, kind);
        assert!(off < tolerance && moved > 10.0 * tolerance, "{name}: {off}, the adapter moves {moved}");
        let config = json(&out.join("config.json"));
        assert_eq!(config.get("dtype").or(config.get("torch_dtype")).unwrap(), name);
        for file in ["tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
            assert_eq!(fs::read(out.join(file)).unwrap(), fs::read(quickstart().join(file)).unwrap(), "{file}");
        }
    }
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 3, "something else is left");
}

#[test]
fn every_family_merges_from_folders_and_gguf() {
    let Some(shared) = shared("every_family_merges_from_folders_and_gguf") else { return };
    let scratch = tempfile::tempdir().unwrap();
    for name in MODELS {
        let original = shared.join("fixtures").join(name).join("model");
        let file = scratch.path().join(format!("{name}.gguf"));
        gguf::convert(&original, &file);
        for (model, kind) in [(&original, "folder"), (&file, "gguf")] {
            let out = scratch.path().join(format!("{name}-{kind}"));
            let (off, moved) = distances(model, &out, WeightType::F32);
            assert!(off < 1e-6 && moved > 1e-3, "{name} {kind}: {off}, the adapter moves {moved}");
            assert_eq!(Checkpoint::open(&out).unwrap().config, Checkpoint::open(&original).unwrap().config);
        }
    }
}

#[test]
fn a_gguf_file_keeps_its_tokenizer_and_template() {
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (folder.path().join("tiny.gguf"), folder.path().join("out"));
    let mut contents = gguf::from_checkpoint(&Checkpoint::open(&quickstart()).unwrap());
    gguf::add_tokenizer(&mut contents, "smollm", &[("t", "h"), ("th", "e"), (" ", "the")]);
    contents.set("tokenizer.chat_template", gguf::Meta::Text(gguf::CHATML.into()));
    fs::write(&file, contents.bytes().0).unwrap();
    let checkpoint = Checkpoint::open(&file).unwrap();
    let left_out = merge(&checkpoint, &adapter(&checkpoint), &out, WeightType::F32).unwrap();
    assert!(left_out.is_empty(), "{left_out:?}");
    let (expected, found) = (Dialect::open(&file).unwrap(), Dialect::open(&out).unwrap());
    let talk = [Message::new("system", "12 the"), Message::new("user", "the\n\n the")];
    assert_eq!(found.pair(&talk, "the 3").unwrap(), expected.pair(&talk, "the 3").unwrap());
    assert_eq!(found.stop(), expected.stop());
}

#[test]
fn what_cannot_be_merged_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::open(&quickstart()).unwrap();
    let mut large = adapter(&checkpoint);
    large.matrices_mut().for_each(|matrix| matrix.data.fill(1e3));
    let out = folder.path().join("out");
    let refused = |adapter, out: &Path| merge(&checkpoint, adapter, out, WeightType::F16).unwrap_err().to_string();
    let message = refused(&large, &out);
    assert!(message.starts_with("tensor model.layers.0.") && message.contains("does not fit float16"), "{message}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    fs::create_dir(&out).unwrap();
    merge(&checkpoint, &adapter(&checkpoint), &out, WeightType::F32).unwrap();
    let message = refused(&adapter(&checkpoint), &out);
    assert!(message.contains("out: is not empty"), "{message}");
}
