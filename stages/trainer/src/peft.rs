//! Adapters in the form of Hugging Face's PEFT: `adapter_config.json` and `adapter_model.safetensors`.

use std::io::ErrorKind;
use std::path::Path;

use serde_json::{Value, json};

use crate::config::Config;
use crate::error::Error;
use crate::lora::Adapter;
use crate::model::Matrix;
use crate::real::Real;
use crate::tensors::{Encoded, decode, parse, write_atomically};

/// The file that says what an adapter is.
pub const CONFIG: &str = "adapter_config.json";
/// The file of its matrices.
pub const WEIGHTS: &str = "adapter_model.safetensors";
const PREFIX: &str = "base_model.model.";

/// Options of PEFT that change what an adapter computes and are not implemented: each must be off.
const MUST_BE_OFF: [&str; 15] = [
    "use_dora",
    "use_rslora",
    "use_qalora",
    "use_bdlora",
    "fan_in_fan_out",
    "lora_bias",
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
    "layers_to_transform",
    "layer_replication",
    "exclude_modules",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
];

/// Saves an adapter into a folder, which is created. `base_model` is the hub id of the base model, if it has one.
///
/// # Errors
/// What the file system reports.
pub fn save<F: Real>(folder: &Path, adapter: &Adapter<F>, base_model: Option<&str>) -> Result<(), Error> {
    std::fs::create_dir_all(folder).map_err(|source| Error::io(folder, source))?;
    let path = folder.join(WEIGHTS);
    let tensors: Vec<_> =
        adapter.named_matrices().map(|(name, matrix)| (format!("{PREFIX}{name}"), Encoded::new(matrix))).collect();
    // transformers refuses a file that does not say which framework's layout it has.
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    let views = tensors.iter().map(|(name, tensor)| (name, tensor));
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|error| Error::malformed(&path, error))?;
    write_atomically(&path, &bytes)?;
    let path = folder.join(CONFIG);
    let text = format!("{:#}\n", peft_config(adapter, base_model));
    write_atomically(&path, text.as_bytes())
}

/// Removes a saved adapter, and its folder where nothing else is in it.
///
/// # Errors
/// What the file system reports.
pub fn remove(folder: &Path) -> Result<(), Error> {
    for path in [folder.join(CONFIG), folder.join(WEIGHTS)] {
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => return Err(Error::io(&path, source)),
            _ => {}
        }
    }
    // Fails where other files are left, or there was no folder.
    let _ = std::fs::remove_dir(folder);
    Ok(())
}

fn peft_config<F: Real>(adapter: &Adapter<F>, base_model: Option<&str>) -> Value {
    let targets: Vec<_> = adapter.targets().into_iter().map(|projection| projection.name()).collect();
    // An integer where alpha is one: older readers expect it.
    let alpha = if adapter.alpha.fract() == 0.0 { json!(adapter.alpha as i64) } else { json!(adapter.alpha) };
    json!({
        "base_model_name_or_path": base_model,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": adapter.rank,
        "target_modules": targets,
        "task_type": "CAUSAL_LM",
        "use_dora": false,
        "use_rslora": false,
    })
}

/// Loads an adapter from a folder and checks that it fits a model of this configuration.
///
/// # Errors
/// Names the file, and the option that is not supported or the tensor that does not fit.
pub fn load<F: Real>(folder: &Path, config: &Config) -> Result<Adapter<F>, Error> {
    let path = folder.join(CONFIG);
    let text = std::fs::read_to_string(&path).map_err(|source| Error::io(&path, source))?;
    let json: Value = serde_json::from_str(&text).map_err(|error| Error::malformed(&path, error))?;
    let (rank, alpha) = read_config(&json).map_err(|error| Error::malformed(&path, error))?;
    let path = folder.join(WEIGHTS);
    let bytes = std::fs::read(&path).map_err(|source| Error::io(&path, source))?;
    let named = read_matrices(&path, &bytes)?;
    let adapter =
        Adapter::from_named(config.layers, rank, alpha, named).map_err(|error| Error::malformed(&path, error))?;
    adapter.check(config).map_err(|error| Error::malformed(&path, error))?;
    Ok(adapter)
}

/// Rank and alpha of a configuration that asks for nothing unknown.
fn read_config(json: &Value) -> Result<(usize, f64), Error> {
    let text = |field: &str| json.get(field).and_then(Value::as_str);
    if text("peft_type") != Some("LORA") {
        return Err(Error::unsupported("peft_type", json.get("peft_type").unwrap_or(&Value::Null), "only \"LORA\" is"));
    }
    if let Some(bias) = json.get("bias").filter(|bias| *bias != "none" && !bias.is_null()) {
        return Err(Error::unsupported("bias", bias, "only \"none\" is"));
    }
    for field in MUST_BE_OFF {
        if let Some(value) = json.get(field).filter(|value| !is_off(value)) {
            return Err(Error::unsupported(field, value, "leave it out"));
        }
    }
    // PiSSA, OLoRA, CorDA and LoftQ start from a changed base model, which the adapter alone does not hold.
    if let Some(init) = json.get("init_lora_weights").filter(|init| !init.is_boolean() && *init != "gaussian") {
        return Err(Error::unsupported("init_lora_weights", init, "true, false and \"gaussian\" are"));
    }
    let rank = json.get("r").and_then(Value::as_u64).and_then(|rank| usize::try_from(rank).ok());
    let rank = rank.filter(|rank| *rank > 0).ok_or_else(|| Error::field("r", "not a positive whole number"))?;
    let alpha = json.get("lora_alpha").and_then(Value::as_f64);
    let alpha = alpha.filter(|alpha| alpha.is_finite()).ok_or_else(|| Error::field("lora_alpha", "not a number"))?;
    Ok((rank, alpha))
}

fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.is_empty(),
        _ => false,
    }
}

fn read_matrices<F: Real>(path: &Path, bytes: &[u8]) -> Result<Vec<(String, Matrix<F>)>, Error> {
    let tensors = parse(path, bytes)?;
    let read = |(name, view): (&str, safetensors::tensor::TensorView<'_>)| {
        let base = name.strip_prefix(PREFIX).ok_or(format!("{name} does not begin with {PREFIX}"))?;
        Ok((base.to_owned(), decode(&view).map_err(|reason| format!("{name} {reason}"))?))
    };
    let matrices: Result<_, String> = tensors.iter().map(read).collect();
    matrices.map_err(|reason| Error::malformed(path, reason))
}
