//! A Hugging Face folder: config.json, generation_config.json, one safetensors file or several with an index.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Component, Path};

use serde_json::Value;

use super::safetensors::SafetensorsFile;
use super::source::Source;
use crate::{Config, Error};

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
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let config_path = path.join("config.json");
        let config_bytes = read_limited(&config_path)?;
        let mut json = parse(&config_path, &config_bytes)?;
        merge_eos(&mut json, read_json(&path.join("generation_config.json"))?.as_ref());
        let config = Config::from_json(&json).map_err(|e| Error::malformed(&config_path, e))?;
        let shards = shard_names(path)?
            .iter()
            .map(|name| SafetensorsFile::open(&path.join(name)))
            .collect::<Result<Vec<_>, _>>()?;
        let names =
            shards.iter().enumerate().flat_map(|(i, shard)| shard.names().into_iter().map(move |name| (name, i)));
        let places = names.collect();
        Ok(Self { config, shards, places, config_bytes })
    }

    pub(super) fn take(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), Error> {
        let shard = self.places.get(name).and_then(|i| self.shards.get(*i));
        shard.ok_or_else(|| Error::MissingTensor { name: name.to_owned() })?.take(name)
    }

    /// Adds the configuration and every weights file to a hash.
    pub(super) fn hash(&self, hasher: &mut blake3::Hasher) -> Result<(), Error> {
        hasher.update(&(self.config_bytes.len() as u64).to_le_bytes());
        hasher.update(&self.config_bytes);
        self.shards.iter().try_for_each(|shard| shard.source.hash(hasher))
    }
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
fn merge_eos(config: &mut Value, generation: Option<&Value>) {
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
    if let Some(object) = config.as_object_mut() {
        object.insert("eos_token_id".into(), Value::Array(merged));
    }
}

/// The contents of a JSON file, `None` where there is no such file.
pub(super) fn read_json(path: &Path) -> Result<Option<Value>, Error> {
    if !fs::exists(path).map_err(|e| Error::io(path, e))? {
        return Ok(None);
    }
    parse(path, &read_limited(path)?).map(Some)
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
