//! Compiled kernels on disk, by a hash over source and options: a device starts without compiling the second time.

use std::path::{Path, PathBuf};

use super::nvrtc;
use crate::error::Error;
use crate::sources::{COMMON, Source};

/// The CUBIN of a source, from the disk where it is there.
pub(super) fn get(source: &Source, arch: &str, defines: &[&str]) -> Result<Vec<u8>, Error> {
    let Some(folder) = folder() else { return Ok(nvrtc::compile(source, arch, defines)?.cubin) };
    let path = folder.join(name(source, arch, defines));
    if let Ok(kept) = std::fs::read(&path)
        && let Some(cubin) = verified(&kept)
    {
        return Ok(cubin);
    }
    let cubin = nvrtc::compile(source, arch, defines)?.cubin;
    // A cache that cannot be written costs time, not the run.
    let _ = keep(&folder, &path, &cubin);
    Ok(cubin)
}

/// Where people's caches lie; none where there is no home.
fn folder() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    Some(cache.or_else(home)?.join("obvert/kernels"))
}

fn name(source: &Source, arch: &str, defines: &[&str]) -> String {
    let mut hasher = blake3::Hasher::new();
    let parts = [COMMON.to_owned(), source.text.to_owned(), nvrtc::version()];
    for part in parts.into_iter().chain(nvrtc::options(arch, defines)) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    format!("{}-{arch}-{}.cubin", source.name, &hasher.finalize().to_hex()[..32])
}

/// A file is a hash and the CUBIN: one that a crash tore is not loaded.
fn verified(kept: &[u8]) -> Option<Vec<u8>> {
    let (hash, cubin) = kept.split_at_checked(32)?;
    (blake3::hash(cubin).as_bytes() == hash).then(|| cubin.to_vec())
}

fn keep(folder: &Path, path: &Path, cubin: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    // Processes that compile the same at once write the same: each its own file, then one rename.
    let part = path.with_extension(std::process::id().to_string());
    std::fs::write(&part, [blake3::hash(cubin).as_bytes(), cubin].concat())?;
    std::fs::rename(&part, path)
}
