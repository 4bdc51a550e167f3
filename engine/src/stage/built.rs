//! A plugin that is a crate: it is built, and a copy of its library under the name of its content is what is loaded. So a library that is
//! built anew is another file, and the one that is in use is never written to.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

/// What a crate is made of, in its folder. What it depends on by path lies elsewhere, and is not among it.
const PARTS: [&str; 5] = [".cargo", "Cargo.lock", "Cargo.toml", "build.rs", "src"];

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
}

/// Builds the crate of a folder, where it has changed, and tells where its library is.
///
/// # Errors
/// There is no cargo, or the compiler refuses the crate and has said why; or the crate has no library of the kind that can be loaded.
pub(crate) fn build(folder: &Path) -> Result<PathBuf, String> {
    let manifest = folder.join("Cargo.toml").canonicalize().map_err(|error| format!("no Cargo.toml in it: {error}"))?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--message-format=json-render-diagnostics", "--manifest-path"]).arg(&manifest);
    // What cargo and the compiler say goes to whoever waits for it.
    let built = cargo.stderr(Stdio::inherit()).output();
    let built = built.map_err(|error| format!("it is a crate, and `cargo` cannot be run to build it: {error}"))?;
    if !built.status.success() {
        return Err("it is a crate that does not build: the compiler has said why".into());
    }
    let library = library(&built.stdout, &manifest);
    let library = library.ok_or("it is a crate without a library of `crate-type = [\"cdylib\"]`")?;
    kept(&library).map_err(|error| format!("{}: {error}", library.display()))
}

/// The library of the crate itself, among those of all that was built.
fn library(said: &[u8], manifest: &Path) -> Option<PathBuf> {
    let lines = said.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Line>(line).ok());
    let mut own =
        lines.filter(|line| line.reason == "compiler-artifact" && line.manifest_path.as_deref() == Some(manifest));
    let artifact = own.find(|line| {
        line.target.as_ref().is_some_and(|target| target.crate_types.iter().any(|kind| kind == "cdylib"))
    })?;
    let is_library =
        |file: &PathBuf| file.extension().is_some_and(|extension| extension == std::env::consts::DLL_EXTENSION);
    artifact.filenames.into_iter().find(is_library)
}

/// A copy of a library, made at once, that is called by its content.
fn kept(library: &Path) -> std::io::Result<PathBuf> {
    let content = std::fs::read(library)?;
    let folder = library.with_file_name("obvert-plugins");
    let hash = super::build_of(&content);
    let stem = library.file_stem().unwrap_or_default().to_string_lossy();
    let copy = folder.join(format!("{stem}-{hash}.{}", std::env::consts::DLL_EXTENSION));
    if !copy.exists() {
        std::fs::create_dir_all(&folder)?;
        let part = tempfile::NamedTempFile::new_in(&folder)?;
        std::fs::write(part.path(), content)?;
        part.persist(&copy)?;
    }
    Ok(copy)
}
