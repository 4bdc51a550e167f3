//! An adapter as a GGUF file: added to a converted model it is what merging gives.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use obvert_trainer::load::Checkpoint;
use obvert_trainer::merge::{WeightType, merge};
use obvert_trainer::{Adapter, LoraSettings};

use crate::common::{MODELS, fill, relative_l2, shared};
use crate::gguf::{self, Gguf};

/// Texts, alpha, and tensors by name: rows, columns, values. Reads what `gguf::save` writes, and nothing else.
struct Saved {
    texts: HashMap<String, String>,
    alpha: f32,
    tensors: HashMap<String, (usize, usize, Vec<f32>)>,
}

struct Cursor<'a>(&'a [u8], usize);

impl Cursor<'_> {
    fn array<const N: usize>(&mut self) -> [u8; N] {
        self.1 += N;
        self.0[self.1 - N..self.1].try_into().unwrap()
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    fn u64(&mut self) -> usize {
        u64::from_le_bytes(self.array()) as usize
    }

    fn text(&mut self) -> String {
        let len = self.u64();
        self.1 += len;
        String::from_utf8(self.0[self.1 - len..self.1].to_vec()).unwrap()
    }
}

fn read(path: &Path) -> Saved {
    let bytes = fs::read(path).unwrap();
    let mut at = Cursor(&bytes, 0);
    assert_eq!((&at.array(), at.u32()), (b"GGUF", 3));
    let (tensors, entries) = (at.u64(), at.u64());
    let mut saved = Saved { texts: HashMap::new(), alpha: f32::NAN, tensors: HashMap::new() };
    for _ in 0..entries {
        match (at.text(), at.u32()) {
            (key, 8) => drop(saved.texts.insert(key, at.text())),
            (key, 6) if key == "adapter.lora.alpha" => saved.alpha = f32::from_le_bytes(at.array()),
            (key, kind) => panic!("{key} of type {kind}"),
        }
    }
    let mut infos = Vec::new();
    for _ in 0..tensors {
        let name = at.text();
        assert_eq!(at.u32(), 2, "{name}");
        let (cols, rows) = (at.u64(), at.u64());
        assert_eq!(at.u32(), 0, "{name}");
        infos.push((name, rows, cols, at.u64()));
    }
    let data = at.1.next_multiple_of(32);
    for (name, rows, cols, offset) in infos {
        assert_eq!(offset % 32, 0, "{name}");
        let values = bytes[data + offset..][..4 * rows * cols].chunks(4);
        let values = values.map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
        assert!(saved.tensors.insert(name, (rows, cols, values)).is_none());
    }
    assert_eq!(bytes.len() % 32, 0);
    saved
}

/// What llama.cpp does with an adapter: alpha/r B A is added to the tensor whose name it has.
fn add(model: &mut Gguf, saved: &Saved) {
    let mut added = 0;
    for (name, shape, _, bytes) in &mut model.tensors {
        let (Some((rank, cols, a)), Some((rows, _, b))) =
            (saved.tensors.get(&format!("{name}.lora_a")), saved.tensors.get(&format!("{name}.lora_b")))
        else {
            continue;
        };
        assert_eq!(*shape, [*rows, *cols], "{name}");
        let scale = saved.alpha / *rank as f32;
        for (index, four) in bytes.chunks_mut(4).enumerate() {
            let (row, col) = (index / cols, index % cols);
            let sum: f32 = (0..*rank).map(|k| b[row * rank + k] * a[k * cols + col]).sum();
            let value = f32::from_le_bytes((&*four).try_into().unwrap()) + scale * sum;
            four.copy_from_slice(&value.to_le_bytes());
        }
        added += 2;
    }
    assert_eq!(added, saved.tensors.len(), "some tensors belong to nothing");
}

#[test]
fn every_family_merges_in_ggufs_terms_to_the_same_model() {
    let Some(shared) = shared("every_family_merges_in_ggufs_terms_to_the_same_model") else { return };
    let scratch = tempfile::tempdir().unwrap();
    for name in MODELS {
        let folder = shared.join("fixtures").join(name).join("model");
        let checkpoint = Checkpoint::open(&folder).unwrap();
        let mut adapter = Adapter::new(&checkpoint.config, &LoraSettings::default(), 1).unwrap();
        fill(&mut adapter, 2);
        let [file, sum] = ["adapter.gguf", "sum.gguf"].map(|file| scratch.path().join(format!("{name}-{file}")));
        obvert_trainer::gguf::save(&file, &adapter, &checkpoint.config).unwrap();
        let saved = read(&file);
        let family = if name == "qwen2" { "qwen2" } else { "llama" };
        let texts = [("general.architecture", family), ("general.type", "adapter"), ("adapter.type", "lora")];
        assert_eq!(saved.texts, texts.map(|(key, text)| (key.to_owned(), text.to_owned())).into());
        let mut model = gguf::from_checkpoint(&checkpoint);
        add(&mut model, &saved);
        fs::write(&sum, model.bytes().0).unwrap();
        let merged = scratch.path().join(name);
        merge(&checkpoint, &adapter, &merged, WeightType::F32).unwrap();
        let (sum, merged) = (Checkpoint::open(&sum).unwrap(), Checkpoint::open(&merged).unwrap());
        for (weight, _) in adapter.named_matrices() {
            let weight = weight.replace(".lora_A", "").replace(".lora_B", "");
            let [sum, merged, base] = [&sum, &merged, &checkpoint].map(|model| model.take(&weight).unwrap().1);
            let merged: Vec<f64> = merged.into_iter().map(f64::from).collect();
            assert!(relative_l2(&sum, &merged) < 1e-6 && relative_l2(&base, &merged) > 1e-3, "{name}: {weight}");
        }
    }
}
