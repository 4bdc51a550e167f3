//! The same model from a folder, from shards, and from GGUF.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use obvert_trainer::load::Checkpoint;
use obvert_trainer::load::quant::GgmlType;
use obvert_trainer::{Config, Matrix, Model, Projection, Storage, Weight, logits};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use crate::common::{MODELS, Tensors, json as read_json, quantised, shared};
use crate::gguf::{self, Meta};

const QUICKSTART: &str = "../../pipelines/quickstart/model";

fn logits_of(path: &Path) -> (Config, Matrix<f32>) {
    let checkpoint = Checkpoint::open(path).unwrap();
    let model = checkpoint.model().unwrap();
    let tokens: Vec<u32> = (0..40).map(|i| (i * 37 % 250) as u32).collect();
    (checkpoint.config, logits(&model, None, &tokens))
}

#[test]
fn gguf_gives_the_logits_of_the_folder() {
    let Some(shared) = shared("gguf_gives_the_logits_of_the_folder") else { return };
    let folder = tempfile::tempdir().unwrap();
    for name in MODELS {
        let original = shared.join("fixtures").join(name).join("model");
        let file = folder.path().join("model.gguf");
        gguf::convert(&original, &file);
        let ((expected_config, expected), (config, found)) = (logits_of(&original), logits_of(&file));
        assert_eq!(config, expected_config, "{name}");
        assert_eq!(found, expected, "{name}");
    }
}

/// All numbers of a model's matrices.
fn numbers(model: &Model) -> Vec<f32> {
    let layers = model.layers.iter().flat_map(|layer| Projection::ALL.map(|projection| layer.weight(projection)));
    let rows = |weight: &Weight<f32>| {
        let mut values = vec![0.0; weight.rows() * weight.cols()];
        values.chunks_exact_mut(weight.cols()).enumerate().for_each(|(at, row)| weight.read(at, row));
        values
    };
    [&model.embed, model.head()].into_iter().chain(layers).flat_map(rows).collect()
}

/// Blocks stay blocks, with the rows of q and k in Hugging Face's order, and bfloat16 stays bfloat16.
#[test]
fn matrices_can_be_kept_as_the_file_has_them() {
    let (folder, quickstart) = (tempfile::tempdir().unwrap(), Path::new(env!("CARGO_MANIFEST_DIR")).join(QUICKSTART));
    let (gguf_file, half_folder) = (folder.path().join("model.gguf"), folder.path().join("half"));
    let mut file = gguf::from_checkpoint(&Checkpoint::open(&quickstart).unwrap());
    for (at, (_, shape, code, bytes)) in file.tensors.iter_mut().enumerate() {
        let (kind, number) = [(GgmlType::Q8_0, 8), (GgmlType::Q4_0, 2), (GgmlType::Q4_1, 3)][at % 3];
        if let &[rows, cols] = &shape[..] {
            (*code, *bytes) = (number, quantised(kind, rows, cols, at as u64).bytes);
        }
    }
    fs::write(&gguf_file, file.bytes().0).unwrap();
    fs::create_dir(&half_folder).unwrap();
    write_shards(&quickstart, &half_folder, Dtype::BF16, |value| half::bf16::from_f64(value).to_le_bytes().to_vec());
    for path in [&gguf_file, &half_folder, &quickstart] {
        let [wide, kept] = [Storage::F32, Storage::File].map(|storage| Checkpoint::open(path).unwrap().stored(storage));
        assert_ne!(wide.identity().unwrap(), kept.identity().unwrap());
        let [wide, kept] = [wide, kept].map(|checkpoint| checkpoint.model().unwrap());
        assert!(numbers(&wide) == numbers(&kept), "{}", path.display());
        let kind = match &kept.layers[0].q {
            Weight::Full(_) => "full",
            Weight::Half(_) => "half",
            Weight::Quantised(_) => "quantised",
        };
        let expected = if path == &gguf_file {
            "quantised"
        } else if path == &half_folder {
            "half"
        } else {
            "full"
        };
        assert_eq!(kind, expected, "{}", path.display());
    }
}

#[test]
fn unknown_rotary_factors_and_scalings_are_refused() {
    let Some(shared) = shared("unknown_rotary_factors_and_scalings_are_refused") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.gguf");
    let original = Checkpoint::open(&shared.join("fixtures/llama31/model")).unwrap();
    let mut other = gguf::from_checkpoint(&original);
    other.f32("rope_freqs.weight", &[8], &[1.0, 1.0, 1.0, 3.0, 4.0, 5.0, 6.0, 8.0]);
    other.tensors.remove(0);
    let mut yarn = gguf::from_checkpoint(&original);
    yarn.set("llama.rope.scaling.type", Meta::Text("yarn".into()));
    let mut partial = gguf::from_checkpoint(&original);
    partial.set("llama.rope.dimension_count", Meta::Int(8));
    for (gguf, expected) in [
        (other, "rope_freqs.weight"),
        (yarn, "llama.rope.scaling.type = yarn is not supported"),
        (partial, "llama.rope.dimension_count = 8 is not supported: only 16"),
    ] {
        fs::write(&file, gguf.bytes().0).unwrap();
        let message = Checkpoint::open(&file).map(drop).unwrap_err().to_string();
        assert!(message.contains(expected) && message.contains("model.gguf"), "{message}");
    }
}

/// Copies a fixture with its tensors in another type, dealt over two files.
fn write_shards(from: &Path, to: &Path, dtype: Dtype, bytes: fn(f64) -> Vec<u8>) {
    fs::copy(from.join("config.json"), to.join("config.json")).unwrap();
    let tensors = Tensors::read(&from.join("model.safetensors"));
    let (mut shards, mut map) = ([Vec::new(), Vec::new()], serde_json::Map::new());
    for (index, name) in tensors.names().into_iter().enumerate() {
        let (shape, values) = tensors.get(&name);
        let file = format!("model-0000{}-of-00002.safetensors", index % 2 + 1);
        map.insert(name.clone(), Value::from(file));
        shards[index % 2].push((name, shape, values.into_iter().flat_map(bytes).collect::<Vec<u8>>()));
    }
    for (index, shard) in shards.iter().enumerate() {
        let views =
            shard.iter().map(|(name, shape, bytes)| (name, TensorView::new(dtype, shape.clone(), bytes).unwrap()));
        let bytes = safetensors::serialize(views, None).unwrap();
        fs::write(to.join(format!("model-0000{}-of-00002.safetensors", index + 1)), bytes).unwrap();
    }
    fs::write(to.join("model.safetensors.index.json"), json!({ "weight_map": map }).to_string()).unwrap();
}

#[test]
fn shards_of_every_type_load() {
    let Some(shared) = shared("shards_of_every_type_load") else { return };
    let original = shared.join("fixtures/qwen2/model");
    let name = "model.layers.1.mlp.up_proj.weight";
    let expected = Checkpoint::open(&original).unwrap().take(name).unwrap();
    type Case = (Dtype, fn(f64) -> Vec<u8>, f32);
    let cases: [Case; 3] = [
        (Dtype::F32, |v| (v as f32).to_le_bytes().to_vec(), 0.0),
        (Dtype::F16, |v| half::f16::from_f64(v).to_le_bytes().to_vec(), 1e-3),
        (Dtype::BF16, |v| half::bf16::from_f64(v).to_le_bytes().to_vec(), 8e-3),
    ];
    for (dtype, bytes, tolerance) in cases {
        let folder = tempfile::tempdir().unwrap();
        write_shards(&original, folder.path(), dtype, bytes);
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        checkpoint.model().unwrap();
        let found = checkpoint.take(name).unwrap();
        assert_eq!(found.0, expected.0);
        let close =
            |(a, b): (&f32, &f32)| (a - b).abs() <= tolerance * b.abs() + 1e-7 * f32::from(u8::from(tolerance > 0.0));
        assert!(found.1.iter().zip(&expected.1).all(close), "{dtype:?}");
    }
}

#[test]
fn ends_of_text_are_merged_and_types_and_names_refused() {
    let Some(shared) = shared("ends_of_text_are_merged_and_types_and_names_refused") else { return };
    let folder = tempfile::tempdir().unwrap();
    let original = shared.join("fixtures/llama/model");
    write_shards(&original, folder.path(), Dtype::F64, |v| v.to_le_bytes().to_vec());
    let generation = json!({ "eos_token_id": [7, read_json(&original.join("config.json"))["eos_token_id"]] });
    fs::write(folder.path().join("generation_config.json"), generation.to_string()).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(checkpoint.config.eos, [2, 7]);
    for (name, expected) in [("model.norm.weight", "type F64 is not supported"), ("model.norm.wait", "missing")] {
        let message = checkpoint.take(name).unwrap_err().to_string();
        assert!(message.contains(expected) && message.contains(name), "{message}");
    }
    for file in ["../model.safetensors", "/etc/passwd", "a/b"] {
        let index = json!({ "weight_map": { "model.norm.weight": file } });
        fs::write(folder.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
        let message = Checkpoint::open(folder.path()).map(drop).unwrap_err().to_string();
        assert!(message.contains("not the name of a file in the folder"), "{message}");
    }
}

#[test]
fn identity_follows_the_contents() {
    let Some(shared) = shared("identity_follows_the_contents") else { return };
    let original = shared.join("fixtures/llama/model");
    let identity = |path: &Path| Checkpoint::open(path).unwrap().identity().unwrap();
    let copies = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for copy in &copies {
        for file in ["config.json", "model.safetensors"] {
            fs::write(copy.path().join(file), fs::read(original.join(file)).unwrap()).unwrap();
        }
    }
    assert_eq!(identity(copies[0].path()), identity(copies[1].path()));
    let weights = copies[1].path().join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    assert_ne!(identity(copies[0].path()), identity(copies[1].path()));
    // Replies depend on what goes in and out as well. One more file, or the same bytes under another name, is seen.
    let mut known = BTreeSet::from([identity(copies[0].path())]);
    for name in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"] {
        let file = copies[0].path().join(name);
        fs::write(&file, "{}").unwrap();
        assert!(known.insert(identity(copies[0].path())), "{name}");
        fs::remove_file(&file).unwrap();
    }
}
