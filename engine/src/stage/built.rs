//! A plugin that is a crate: it is built, in its own folder and with its own settings of cargo.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

/// What a crate is made of, in its folder. What it depends on by path lies elsewhere, and is not among it.
const PARTS: [&str; 7] =
    [".cargo", "Cargo.lock", "Cargo.toml", "build.rs", "rust-toolchain", "rust-toolchain.toml", "src"];

/// The files that a plugin is made of, in order: itself, or those of a crate.
///
/// # Errors
/// A folder of the crate cannot be read; names it.
pub fn sources(plugin: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !plugin.is_dir() {
        return Ok(vec![plugin.to_owned()]);
    }
    let mut files = Vec::new();
    for part in PARTS.map(|part| plugin.join(part)).into_iter().filter(|part| part.symlink_metadata().is_ok()) {
        collect(part, &mut files)?;
    }
    Ok(files)
}

/// Adds a file, or all files of a folder. Links are not followed.
fn collect(path: PathBuf, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let named = |error: std::io::Error| std::io::Error::other(format!("{}: {error}", path.display()));
    if !path.symlink_metadata().map_err(named)?.is_dir() {
        files.push(path);
        return Ok(());
    }
    let entries = std::fs::read_dir(&path).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut entries: Vec<PathBuf> = entries.map_err(named)?;
    entries.sort();
    entries.into_iter().try_for_each(|entry| collect(entry, files))
}

/// A hash over the names and contents of what a plugin is made of.
///
/// # Errors
/// It cannot be read, or a file of a crate is a link, whose content may change unseen; names it.
pub fn fingerprint(plugin: &Path) -> std::io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    for file in sources(plugin)? {
        let named = |what: &dyn std::fmt::Display| std::io::Error::other(format!("{}: {what}", file.display()));
        if file != plugin && file.is_symlink() {
            return Err(named(&"it is a link, and cannot be pinned"));
        }
        let name = file.strip_prefix(plugin).unwrap_or(Path::new("")).to_string_lossy();
        let content = std::fs::read(&file).map_err(|error| named(&error))?;
        for part in [name.as_bytes(), &content] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// A line of what cargo says; lines of other kinds are passed over.
#[derive(Deserialize)]
struct Line {
    reason: String,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    crate_types: Vec<String>,
    src_path: PathBuf,
}

/// Builds the crate of a folder, where it has changed, and tells where its library is.
///
/// # Errors
/// There is no cargo, or the compiler refuses the crate and has said why; or the crate has no library of the kind that can be loaded.
pub(crate) fn build(folder: &Path) -> Result<PathBuf, String> {
    let manifest = folder.join("Cargo.toml").canonicalize().map_err(|error| format!("no Cargo.toml in it: {error}"))?;
    let folder = manifest.parent().unwrap_or(folder);
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(folder);
    cargo.args(["build", "--release", "--message-format=json-render-diagnostics", "--manifest-path"]).arg(&manifest);
    // What cargo and the compiler say goes to whoever waits for it.
    let built = cargo.stderr(Stdio::inherit()).output();
    let built = built.map_err(|error| format!("it is a crate, and `cargo` cannot be run to build it: {error}"))?;
    if !built.status.success() {
        return Err("it is a crate that does not build: the compiler has said why".into());
    }
    let own = own(&built.stdout, &manifest);
    let outside = |target: &&Target| {
        let part = target.src_path.strip_prefix(folder).ok().and_then(|path| path.iter().next());
        part.is_none_or(|part| !PARTS.iter().any(|known| part == *known))
    };
    if let Some(target) = own.iter().filter_map(|line| line.target.as_ref()).find(outside) {
        let path = target.src_path.display();
        return Err(format!("its code {path} is neither `src` nor `build.rs`, which are what is pinned and watched"));
    }
    library(own).ok_or_else(|| "it is a crate without a library of `crate-type = [\"cdylib\"]`".into())
}

/// What was built of the crate itself, among all that was built.
fn own(said: &[u8], manifest: &Path) -> Vec<Line> {
    let lines = said.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Line>(line).ok());
    lines.filter(|line| line.reason == "compiler-artifact" && line.manifest_path.as_deref() == Some(manifest)).collect()
}

/// The library that can be loaded.
fn library(own: Vec<Line>) -> Option<PathBuf> {
    let artifact = own.into_iter().find(|line| {
        line.target.as_ref().is_some_and(|target| target.crate_types.iter().any(|kind| kind == "cdylib"))
    })?;
    let is_library =
        |file: &PathBuf| file.extension().is_some_and(|extension| extension == std::env::consts::DLL_EXTENSION);
    artifact.filenames.into_iter().find(is_library)
}
