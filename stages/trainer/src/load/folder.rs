//! A Hugging Face folder: config.json, generation_config.json, one safetensors file or several with an index.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::safetensors::SafetensorsFile;
use super::source::Source;
use crate::config::token_ids;
use crate::{Config, Error, Weight};

/// What a model's replies depend on besides its configuration and weights.
const DIALECT: [&str; 4] = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"];
/// No JSON file of a checkpoint is larger (bytes); tokenizer.json reaches some 30 MB.
const MAX_JSON: u64 = 1 << 28;

/// An open folder.
pub(super) struct Folder {
    pub(super) config: Config,
    /// In the order of their names.
    shards: Vec<SafetensorsFile>,
    /// Which shard holds a tensor.
    places: HashMap<String, usize>,
    config_bytes: Vec<u8>,
    path: PathBuf,
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let config_path = path.join("config.json");
        let config_bytes = read_limited(&config_path)?;
        let mut json = parse(&config_path, &config_bytes)?;
        let eos = merged_eos(&json, read_json(&path.join("generation_config.json"))?.as_ref());
        if let Some(object) = json.as_object_mut() {
            object.insert("eos_token_id".into(), Value::Array(eos));
        }
        let config = Config::from_json(&json).map_err(|e| Error::malformed(&config_path, e))?;
        let shards = shard_names(path)?
            .iter()
            .map(|name| SafetensorsFile::open(&path.join(name)))
            .collect::<Result<Vec<_>, _>>()?;
        let names =
            shards.iter().enumerate().flat_map(|(i, shard)| shard.names().into_iter().map(move |name| (name, i)));
        let places = names.collect();
        Ok(Self { config, shards, places, config_bytes, path: path.to_owned() })
    }

    pub(super) fn take(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), Error> {
        self.shard(name)?.take(name)
    }

    /// A matrix that is stored in bfloat16.
    pub(super) fn stored(&self, name: &str) -> Result<Option<Weight<f32>>, Error> {
        self.shard(name)?.stored(name)
    }

    fn shard(&self, name: &str) -> Result<&SafetensorsFile, Error> {
        let shard = self.places.get(name).and_then(|i| self.shards.get(*i));
        shard.ok_or_else(|| Error::MissingTensor { name: name.to_owned() })
    }

    /// config.json as it stands.
    pub(super) fn config_json(&self) -> Result<Value, Error> {
        parse(&self.path.join("config.json"), &self.config_bytes)
    }

    /// The contents of a small file of the folder, `None` where there is no such file.
    pub(super) fn companion(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        read_if_present(&self.path.join(name))
    }

    /// Adds configuration, tokenizer, chat template and weights to a hash.
    pub(super) fn hash(&self, hasher: &mut blake3::Hasher) -> Result<(), Error> {
        update(hasher, &self.config_bytes);
        for name in DIALECT {
            // A file that is absent and one that is empty say the same.
            update(hasher, &self.companion(name)?.unwrap_or_default());
        }
        self.shards.iter().try_for_each(|shard| shard.source.hash(hasher))
    }
}

/// The length goes first, so that no byte can move from one file to the next unnoticed.
fn update(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

/// The tokens that a folder's config.json and generation_config.json name as ends of a text; none without the files.
pub(super) fn eos(path: &Path) -> Result<Vec<u32>, Error> {
    let config_path = path.join("config.json");
    let config = read_json(&config_path)?.unwrap_or_default();
    let generation = read_json(&path.join("generation_config.json"))?;
    token_ids(&Value::Array(merged_eos(&config, generation.as_ref())), "eos_token_id")
        .map_err(|e| Error::malformed(&config_path, e))
}

/// The weights files by name: what the index lists, or `model.safetensors` alone.
fn shard_names(folder: &Path) -> Result<BTreeSet<String>, Error> {
    let path = folder.join("model.safetensors.index.json");
    let Some(index) = read_json(&path)? else {
        return Ok(BTreeSet::from(["model.safetensors".to_owned()]));
    };
    let map = index
        .get("weight_map")
        .and_then(Value::as_object)
        .ok_or_else(|| Error::malformed(&path, "weight_map: missing or not an object"))?;
    map.iter()
        .map(|(tensor, file)| {
            let name = file.as_str().filter(|name| is_plain(name));
            name.map(str::to_owned).ok_or_else(|| {
                Error::malformed(&path, format!("weight_map.{tensor}: {file} is not the name of a file in the folder"))
            })
        })
        .collect()
}

fn is_plain(name: &str) -> bool {
    matches!(Path::new(name).components().collect::<Vec<_>>()[..], [Component::Normal(_)])
}

/// Hugging Face's generation stops at the generation configuration's tokens; a config.json often names fewer.
fn merged_eos(config: &Value, generation: Option<&Value>) -> Vec<Value> {
    let ids = |json: Option<&Value>| match json.and_then(|json| json.get("eos_token_id")) {
        Some(Value::Array(ids)) => ids.clone(),
        Some(Value::Null) | None => Vec::new(),
        Some(id) => vec![id.clone()],
    };
    let mut merged = ids(Some(config));
    for id in ids(generation) {
        if !merged.contains(&id) {
            merged.push(id);
        }
    }
    merged
}

/// The contents of a JSON file, `None` where there is no such file.
pub(super) fn read_json(path: &Path) -> Result<Option<Value>, Error> {
    read_if_present(path)?.map(|bytes| parse(path, &bytes)).transpose()
}

fn read_if_present(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::exists(path).map_err(|e| Error::io(path, e))? {
        true => read_limited(path).map(Some),
        false => Ok(None),
    }
}

/// All of a small file.
pub(super) fn read_limited(path: &Path) -> Result<Vec<u8>, Error> {
    let source = Source::open(path)?;
    if source.len > MAX_JSON {
        return Err(source.error(format!("{} bytes is over the limit of {MAX_JSON}", source.len)));
    }
    source.read(0, source.len)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(bytes).map_err(|e| Error::malformed(path, e))
}
