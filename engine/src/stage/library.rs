//! The host's side of the plugin border: loads a library, checks it, and runs its stages. This file and `host` hold all `unsafe` of the
//! engine.

use std::collections::HashMap;
use std::ffi::c_void;
use std::mem::{MaybeUninit, offset_of};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use libloading::os::unix::{Library as Dynamic, RTLD_LOCAL, RTLD_NOW, Symbol};
use obvert_api::abi::{self, Bytes, ChainFn, CreateFn, DestroyFn, Entry, Plugin, ProcessFn};
use obvert_api::frame::{self, Codec, Writer};
use obvert_api::{Error, Manifest, Operation, Outcome};

use super::chain::{Batch, Kind as Together, Link};
use super::foreign::{Foreign, Types};
use super::frames::Frames;
use super::host::{Call, host};
use super::isolated::{Isolated, Limits};
use super::{Runner, Work, build_of};
use super::{kept, said};

/// A stage of a loaded library, ready to be created.
#[derive(Clone, Debug)]
pub struct Library {
    /// What the stage is.
    pub manifest: Manifest,
    /// Hash of the library's file: a changed plugin is another one.
    pub build: String,
    /// The library's file.
    pub path: PathBuf,
    /// Where its records are JSON, their types.
    foreign: Option<Types>,
    plugin: Arc<Shared>,
}

/// A plugin's functions, mapped for the life of the process.
#[derive(Debug)]
struct Shared {
    /// What the plugin said of itself, where it said it.
    described: Described,
    create: CreateFn,
    process: ProcessFn,
    destroy: DestroyFn,
    /// Where the library can run its stages together.
    chain: Option<ChainFn>,
}

/// Lives as long as the process, and is never written to.
#[derive(Debug)]
struct Described(*const Plugin);

// SAFETY: the border demands that descriptions live as long as the process and stay as they are.
unsafe impl Send for Described {}
// SAFETY: as above.
unsafe impl Sync for Described {}

/// No library has more stages: one that never says that it has no more describes one for ever.
const MOST_STAGES: u32 = 1024;

/// What libraries were when they were mapped: a path leads to what it led to first.
static MAPPED: LazyLock<Mutex<HashMap<PathBuf, String>>> = LazyLock::new(Mutex::default);

/// Loads a copy of a library, by its content, and lists its stages: the file itself may be written to. The copy stays mapped until the
/// process ends.
///
/// # Errors
/// As for [`load_in_place`]; or it cannot be copied.
pub fn load(path: &Path) -> Result<Vec<Library>, String> {
    let file = std::fs::read(path).map_err(|error| error.to_string())?;
    let copy = kept::kept(path, &file).map_err(|error| format!("it cannot be copied: {error}"))?;
    load_in_place(&copy)
}

/// Loads a library that nobody writes to: the program's own, or a copy.
///
/// # Errors
/// It is no plugin, or not one of this version of the border.
pub fn load_in_place(path: &Path) -> Result<Vec<Library>, String> {
    let file = std::fs::read(path).map_err(|error| error.to_string())?;
    kept::is_whole(&file)?;
    let mut mapped = MAPPED.lock().unwrap_or_else(PoisonError::into_inner);
    let build = mapped.entry(path.to_owned()).or_insert_with(|| build_of(&file)).clone();
    drop(mapped);
    let entry = entry(path)?;
    let mut stages: Vec<Library> = Vec::new();
    for index in 0..MOST_STAGES {
        // SAFETY: the symbol has the border's name, whose contract is this type.
        let plugin = unsafe { entry(index) };
        if plugin.is_null() {
            let none = "it holds no stage, or panicked when it was asked for them";
            return if stages.is_empty() { Err(none.into()) } else { Ok(stages) };
        }
        stages.push(describe(plugin, &build, path)?);
    }
    Err(format!("it describes more than {MOST_STAGES} stages: past the last one `{}` returns null", abi::SYMBOL))
}

fn entry(path: &Path) -> Result<Entry, String> {
    // SAFETY: loading runs the library's initialisers; a pipeline names the libraries that it trusts.
    let library = unsafe { Dynamic::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| caused(&error))?;
    // SAFETY: the name belongs to the border, which fixes its type.
    let symbol: Symbol<Entry> =
        unsafe { library.get(abi::SYMBOL.as_bytes()).or_else(|_| library.get(own_symbol(path).as_bytes())) }.map_err(
            |_| format!("it exports no `{}`: not an obvert plugin, or one of another ABI version", abi::SYMBOL),
        )?;
    let entry = *symbol;
    // Unloading would pull code from under running threads and thread-local destructors.
    std::mem::forget(library);
    Ok(entry)
}

/// The symbol of a library that programs link, too: `libobvert_judge.so`, or a copy of it, `libobvert_judge-HASH.so`.
fn own_symbol(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = stem.strip_prefix(std::env::consts::DLL_PREFIX).unwrap_or(&stem);
    format!("{}_{}", abi::SYMBOL, name.split('-').next().unwrap_or_default())
}

/// What the system says, which the error alone does not show.
fn caused(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// Bytes of the description in version 1.0; every later one is as long at least.
const SHORTEST: usize = offset_of!(Plugin, chain) + size_of::<Option<ChainFn>>();

fn describe(plugin: *const Plugin, build: &str, path: &Path) -> Result<Library, String> {
    // SAFETY: not null; the first field of every version is the size, so one word is readable.
    let size = unsafe { *plugin.cast::<usize>() };
    if size < SHORTEST {
        return Err(format!("its stage description has {size} bytes, ABI {} needs {SHORTEST}", abi::MAJOR));
    }
    let mut known = MaybeUninit::<Plugin>::zeroed();
    // SAFETY: the description has `size` bytes; fields behind them stay zero, which for every field is none of it.
    let known = unsafe {
        let (from, to) = (plugin.cast::<u8>(), known.as_mut_ptr().cast::<u8>());
        std::ptr::copy_nonoverlapping(from, to, size.min(size_of::<Plugin>()));
        known.assume_init()
    };
    if known.major != abi::MAJOR {
        return Err(format!("it is built for ABI version {}, this program speaks {}", known.major, abi::MAJOR));
    }
    if known.flags & abi::UNWINDS == 0 {
        return Err("it is built with panic=abort: a panic in it would end the program".into());
    }
    // SAFETY: the manifest's bytes live as long as the process.
    let manifest: Manifest = serde_json::from_slice(unsafe { known.manifest.slice() })
        .map_err(|e| format!("its manifest is unreadable: {e}"))?;
    let named = |cause: String| format!("stage `{}`: {cause}", manifest.name);
    let foreign = (known.flags & abi::JSON != 0).then(|| Types::of(&manifest).map_err(named)).transpose()?;
    let (Some(create), Some(process), Some(destroy)) = (known.create, known.process, known.destroy) else {
        return Err(named("its description has a null function".into()));
    };
    let (build, path) = (build.to_string(), path.to_path_buf());
    let (described, chain) = (Described(plugin), known.chain.filter(|_| foreign.is_none()));
    let plugin = Arc::new(Shared { described, create, process, destroy, chain });
    Ok(Library { manifest, build, path, foreign, plugin })
}

impl Library {
    /// Creates the stage from its settings.
    ///
    /// # Errors
    /// It refuses them.
    pub fn create(&self, settings: &serde_json::Value) -> Result<Arc<dyn Runner>, Error> {
        Ok(self.translated(self.instance(settings)?))
    }

    /// Creates the stage in a process of its own.
    ///
    /// # Errors
    /// It cannot be started, or refuses its settings.
    pub fn isolate(&self, settings: &serde_json::Value, limits: Limits) -> Result<Arc<dyn Runner>, Error> {
        let speech = Frames { library: self.clone(), settings: settings.clone(), name: said::runs() };
        Ok(self.translated(Isolated::start(speech, limits)?))
    }

    fn translated(&self, stage: impl Runner + 'static) -> Arc<dyn Runner> {
        match self.foreign {
            None => Arc::new(stage),
            Some(types) => Arc::new(Foreign { types, stage }),
        }
    }

    fn codec(&self) -> Codec {
        if self.foreign.is_some() { Codec::Json } else { Codec::Bincode }
    }

    pub(super) fn instance(&self, settings: &serde_json::Value) -> Result<Instance, Error> {
        let text = settings.to_string();
        let mut call = Call::creation(&self.manifest.name);
        let text = Bytes::of(text.as_bytes());
        let instance = (self.plugin.create)(self.plugin.described.0, host(), text, call.pointer());
        if instance.is_null() {
            return Err(call.answers().reason().unwrap_or_else(|| Error::new("it gave no reason")));
        }
        Ok(Instance { library: self.clone(), instance })
    }
}

pub(super) struct Instance {
    library: Library,
    instance: *mut c_void,
}

// SAFETY: the border demands that `process` may be called from several threads at once.
unsafe impl Send for Instance {}
// SAFETY: as above.
unsafe impl Sync for Instance {}

impl Drop for Instance {
    fn drop(&mut self) {
        (self.library.plugin.destroy)(self.instance);
    }
}

impl Instance {
    /// A batch with room for such items.
    fn batch<'a>(&self, operation: Operation, items: impl ExactSizeIterator<Item = &'a [u8]>) -> Writer {
        let count = items.len();
        let (codec, input) = (self.library.codec(), &self.library.manifest.input);
        Writer::with_room(codec, operation, input, count, items.map(<[u8]>::len).sum())
    }

    /// What comes of one item of a batch that was written for another process.
    pub(super) fn answer(&self, operation: Operation, item: &[u8]) -> Result<Outcome, Error> {
        let mut batch = self.batch(operation, [item].into_iter());
        batch.record(item);
        // By which the program at the other end knows the item, for the log.
        let known = match operation {
            Operation::Run => frame::item_of(self.library.manifest.kind, item).ok(),
            _ => None,
        };
        self.process(batch, &[known.as_deref().unwrap_or(item)]).remove(0)
    }

    fn process(&self, batch: Writer, items: &[&[u8]]) -> Vec<Result<Outcome, Error>> {
        let batch = batch.finish();
        let mut call = Call::items(&self.library.manifest.name, items);
        match (self.library.plugin.process)(self.instance, host(), call.pointer(), Bytes::of(&batch)) {
            0 => call.answers().outcomes(),
            code => {
                let unsaid = || Error(format!("the plugin refused the batch with code {code}"));
                let reason = call.answers().reason().unwrap_or_else(unsaid);
                items.iter().map(|_| Err(reason.clone())).collect()
            }
        }
    }

    /// Runs maps of one library, and the keys of the group that they lead to, on records; nothing where that has to be done
    /// stage by stage.
    pub(super) fn chain(maps: &[&Instance], group: Option<&Instance>, records: &[&[u8]]) -> Option<Batch> {
        let first = maps.first()?;
        let chain = first.library.plugin.chain?;
        let alike =
            |other: &&Instance| other.library.path == first.library.path && other.library.build == first.library.build;
        if !maps.iter().chain(group.as_ref()).all(alike) {
            return None;
        }
        let mut writer = first.batch(Operation::Chain, records.iter().copied());
        records.iter().for_each(|record| writer.record(record));
        let (bytes, mut call) = (writer.finish(), Call::chain(&first.library.manifest.name, records.len()));
        let instances: Vec<_> = maps.iter().map(|map| map.instance).collect();
        let group = group.map_or(std::ptr::null_mut(), |group| group.instance);
        let code = chain(instances.as_ptr(), instances.len(), group, host(), call.pointer(), Bytes::of(&bytes));
        call.batch().filter(|batch| code == 0 && batch.adds_up(maps.len(), !group.is_null()))
    }
}

impl Runner for Instance {
    fn run(&self, work: &[Work<'_>]) -> Vec<Result<Outcome, Error>> {
        let mut batch = self.batch(Operation::Run, work.iter().map(|work| work.item));
        let kind = self.library.manifest.kind;
        if let Err(error) = work.iter().try_for_each(|work| batch.run(kind, work.item, work.replies)) {
            return work.iter().map(|_| Err(error.clone())).collect();
        }
        self.process(batch, &work.iter().map(|work| work.item).collect::<Vec<_>>())
    }

    fn ask(&self, operation: Operation, records: &[&[u8]]) -> Vec<Result<Outcome, Error>> {
        let mut batch = self.batch(operation, records.iter().copied());
        records.iter().for_each(|record| batch.record(record));
        self.process(batch, records)
    }

    fn link(&self) -> Link<'_> {
        Link(Together::Library(self))
    }
}

#[cfg(test)]
mod tests;
