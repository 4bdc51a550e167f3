//! A model whose weights hold what its adapter adds, W' = W + (alpha/r)·B A, as a Hugging Face folder.

use std::fs;
use std::path::Path;

use rayon::prelude::*;
use serde_json::json;

use crate::config::Config;
use crate::error::Error;
use crate::load::{Checkpoint, Companions};
use crate::lora::{Adapter, LowRank};
use crate::projection::Projection;
use crate::tensors::write_atomically;
use crate::weights_file;
pub use crate::weights_file::WeightType;

/// Writes the folder `out`, all of it or nothing. Gives the files that could not be made from the source, as errors.
///
/// # Errors
/// Where `out` holds something already, a tensor cannot be read or does not fit `kind`, or the file system refuses.
pub fn merge(checkpoint: &Checkpoint, adapter: &Adapter, out: &Path, kind: WeightType) -> Result<Vec<Error>, Error> {
    refuse_occupied(out)?;
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|source| Error::io(parent, source))?;
    let folder = temporary(parent).map_err(|source| Error::io(parent, source))?;
    let companions = checkpoint.companions()?;
    write_companions(folder.path(), &companions, kind)?;
    write_weights(&folder.path().join("model.safetensors"), checkpoint, adapter, kind)?;
    // An empty folder at `out` is replaced; one that was filled meanwhile is not.
    fs::rename(folder.path(), out).map_err(|source| Error::io(out, source))?;
    // It is no longer where it would be removed from.
    let _ = folder.keep();
    fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(|source| Error::io(parent, source))?;
    Ok(companions.left_out)
}

fn refuse_occupied(out: &Path) -> Result<(), Error> {
    match fs::read_dir(out).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::malformed(out, "is not empty; give a new folder")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io(out, error)),
    }
}

/// A folder with the permissions of an ordinary one (temporary folders are private by default).
fn temporary(parent: &Path) -> std::io::Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".partial-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    builder.tempdir_in(parent)
}

fn write_companions(folder: &Path, companions: &Companions, kind: WeightType) -> Result<(), Error> {
    let mut config = companions.config.clone();
    // The older name is the one that all versions of transformers read, but the newer one would win over it.
    let field = if config.get("dtype").is_some() { "dtype" } else { "torch_dtype" };
    config[field] = json!(kind.name());
    write_atomically(&folder.join("config.json"), format!("{config:#}\n").as_bytes())?;
    companions.files.iter().try_for_each(|(name, bytes)| write_atomically(&folder.join(name), bytes))
}

fn write_weights(path: &Path, checkpoint: &Checkpoint, adapter: &Adapter, kind: WeightType) -> Result<(), Error> {
    let weights = weights(&checkpoint.config);
    let tensors: Vec<_> = weights.iter().map(|weight| (weight.name.clone(), weight.shape.clone())).collect();
    weights_file::write(path, &tensors, kind, |index| {
        let weight = &weights[index];
        let (found, mut values) = checkpoint.take(&weight.name)?;
        if found != weight.shape {
            return Err(Error::Shape { name: weight.name.clone(), expected: weight.shape.clone(), found });
        }
        if let Some((layer, projection)) = weight.place
            && let Some(low) = &adapter.layers[layer][projection.index()]
        {
            add(&mut values, low, adapter.scale());
        }
        Ok(values)
    })
}

/// Adds scale·B A to a weight.
fn add(weight: &mut [f32], low: &LowRank<f32>, scale: f32) {
    let (rank, width) = (low.a.rows, low.a.cols);
    weight.par_chunks_mut(width).zip(low.b.data.par_chunks(rank)).for_each(|(row, b)| {
        let mut sum = vec![0.0; width];
        for (b, a) in b.iter().zip(low.a.data.chunks(width)) {
            sum.iter_mut().zip(a).for_each(|(sum, a)| *sum += b * a);
        }
        row.iter_mut().zip(sum).for_each(|(weight, sum)| *weight += scale * sum);
    });
}

/// A tensor of a model.
struct Weight {
    name: String,
    shape: Vec<usize>,
    /// Where an adapter may change it: the block, and which of its projections.
    place: Option<(usize, Projection)>,
}

impl Weight {
    fn new(name: impl Into<String>, shape: &[usize]) -> Self {
        Self { name: name.into(), shape: shape.to_vec(), place: None }
    }
}

/// Every tensor of a model.
fn weights(config: &Config) -> Vec<Weight> {
    let (vocab, hidden) = (config.vocab_size, config.hidden);
    let mut weights = vec![Weight::new("model.embed_tokens.weight", &[vocab, hidden])];
    weights.extend((0..config.layers).flat_map(|layer| block(config, layer)));
    weights.push(Weight::new("model.norm.weight", &[hidden]));
    if !config.tied {
        weights.push(Weight::new("lm_head.weight", &[vocab, hidden]));
    }
    weights
}

fn block(config: &Config, layer: usize) -> Vec<Weight> {
    let name = |part: &str| format!("model.layers.{layer}.{part}");
    let norms = ["input_layernorm.weight", "post_attention_layernorm.weight"];
    let mut weights: Vec<_> = norms.map(|norm| Weight::new(name(norm), &[config.hidden])).into();
    for projection in Projection::ALL {
        let (rows, cols) = projection.shape(config);
        let weight = Weight::new(name(&format!("{}.weight", projection.module())), &[rows, cols]);
        weights.push(Weight { place: Some((layer, projection)), ..weight });
        if config.qkv_bias && [Projection::Q, Projection::K, Projection::V].contains(&projection) {
            weights.push(Weight::new(name(&format!("{}.bias", projection.module())), &[rows]));
        }
    }
    weights
}
