//! The host's side of the plugin border: loads a library, checks it, and runs its stages. All `unsafe` of the engine
//! is in this file.

use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libloading::os::unix::{Library as Dynamic, RTLD_LOCAL, RTLD_NOW, Symbol};
use obvert_api::abi::{self, Bytes, ChainFn, CreateFn, DestroyFn, Entry, Host, Plugin, ProcessFn};
use obvert_api::chain::Links;
use obvert_api::erased::Kind;
use obvert_api::frame::{Codec, Writer};
use obvert_api::{Error, Manifest, Operation, Outcome};

use super::answers::{Answer, Answers};
use super::chain::{Batch, Kind as Together, Link};
use super::foreign::{Foreign, Types};
use super::frames::Frames;
use super::isolated::{Isolated, Limits};
use super::{Runner, Work};

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
    create: CreateFn,
    process: ProcessFn,
    destroy: DestroyFn,
    /// Where the library can run its stages together.
    chain: Option<ChainFn>,
}

static HOST: Host = Host {
    size: size_of::<Host>(),
    major: abi::MAJOR,
    minor: abi::MINOR,
    log,
    emit,
    request,
    fail,
    refuse,
    pass,
    made,
};

/// Loads a library and lists its stages. The library stays mapped until the process ends.
pub fn load(path: &Path) -> Result<Vec<Library>, String> {
    let file = std::fs::read(path).map_err(|e| e.to_string())?;
    let build = blake3::hash(&file).to_hex()[..16].to_string();
    let entry = entry(path)?;
    // SAFETY: the symbol has the border's name, whose contract is this type; the loop stops at the first null.
    let plugins = (0..).map(|index| unsafe { entry(index) }).take_while(|plugin| !plugin.is_null());
    let stages = plugins.map(|plugin| describe(plugin, &build, path)).collect::<Result<Vec<_>, _>>()?;
    if stages.is_empty() { Err("it holds no stage".into()) } else { Ok(stages) }
}

fn entry(path: &Path) -> Result<Entry, String> {
    // SAFETY: loading runs the library's initialisers; a pipeline names the libraries that it trusts.
    let library = unsafe { Dynamic::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map_err(|e| e.to_string())?;
    // SAFETY: the name belongs to the border, which fixes its type.
    let symbol: Symbol<Entry> = unsafe { library.get(abi::SYMBOL.as_bytes()) }
        .map_err(|_| format!("it exports no `{}`: not an obvert plugin, or one of another ABI version", abi::SYMBOL))?;
    let entry = *symbol;
    // Unloading would pull code from under running threads and thread-local destructors.
    std::mem::forget(library);
    Ok(entry)
}

fn describe(plugin: *const Plugin, build: &str, path: &Path) -> Result<Library, String> {
    // SAFETY: not null; the first field of every version is the size, so one word is readable.
    let size = unsafe { *plugin.cast::<usize>() };
    if size < size_of::<Plugin>() {
        return Err(format!(
            "its stage description has {size} bytes, ABI {} needs {}",
            abi::MAJOR,
            size_of::<Plugin>()
        ));
    }
    // SAFETY: the description is at least as large as ours and lives as long as the process.
    let known = unsafe { &*plugin };
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
    let plugin = Arc::new(Shared { create, process, destroy, chain: known.chain.filter(|_| foreign.is_none()) });
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
        let speech = Frames { library: self.clone(), settings: settings.clone() };
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
        let mut answers = Answers::for_items(1);
        let instance = (self.plugin.create)(&HOST, Bytes::of(text.as_bytes()), std::ptr::from_mut(&mut answers).cast());
        if instance.is_null() {
            return Err(answers.reason().unwrap_or_else(|| Error::new("it gave no reason")));
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
        self.process(batch, 1).remove(0)
    }

    fn process(&self, batch: Writer, items: usize) -> Vec<Result<Outcome, Error>> {
        let batch = batch.finish();
        let mut answers = Answers::for_items(items);
        match (self.library.plugin.process)(
            self.instance,
            &HOST,
            std::ptr::from_mut(&mut answers).cast(),
            Bytes::of(&batch),
        ) {
            0 => answers.outcomes(),
            code => {
                let unsaid = || Error(format!("the plugin refused the batch with code {code}"));
                let reason = answers.reason().unwrap_or_else(unsaid);
                (0..items).map(|_| Err(reason.clone())).collect()
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
        let (bytes, mut batch) = (writer.finish(), Batch::of(records.len()));
        let instances: Vec<_> = maps.iter().map(|map| map.instance).collect();
        let group = group.map_or(std::ptr::null_mut(), |group| group.instance);
        let call = std::ptr::from_mut(&mut batch).cast();
        (chain(instances.as_ptr(), instances.len(), group, &HOST, call, Bytes::of(&bytes)) == 0).then_some(batch)
    }
}

impl Runner for Instance {
    fn run(&self, work: &[Work<'_>]) -> Vec<Result<Outcome, Error>> {
        let mut batch = self.batch(Operation::Run, work.iter().map(|work| work.item));
        let put = |work: &Work<'_>| match self.library.manifest.kind {
            Kind::Map => batch.run_map(work.item, work.replies),
            Kind::Group => batch.run_group(work.item, work.replies),
        };
        if let Err(error) = work.iter().try_for_each(put) {
            return work.iter().map(|_| Err(error.clone())).collect();
        }
        self.process(batch, work.len())
    }

    fn ask(&self, operation: Operation, records: &[&[u8]]) -> Vec<Result<Outcome, Error>> {
        let mut batch = self.batch(operation, records.iter().copied());
        records.iter().for_each(|record| batch.record(record));
        self.process(batch, records.len())
    }

    fn link(&self) -> Link<'_> {
        Link(Together::Library(self))
    }
}

/// Lets a callback write on the answer it is about.
fn answer<T>(call: *mut c_void, item: u64, write: impl FnOnce(&mut Answer) -> T) -> Option<T> {
    // SAFETY: `call` is the pointer that `process` or `create` made for the present call, on this thread.
    let answers = unsafe { &mut *call.cast::<Answers>() };
    answers.about(item).map(write)
}

/// Bytes that a plugin lends, or what is wrong with them.
fn lent<'a>(bytes: Bytes) -> Result<&'a [u8], String> {
    match (bytes.ptr.is_null(), bytes.len) {
        (true, 1..) => Err(format!("it passed a null pointer to {} bytes", bytes.len)),
        // SAFETY: the plugin lends the bytes for the duration of the callback, in which the slice stays.
        _ => Ok(unsafe { bytes.slice() }),
    }
}

extern "C" fn emit(call: *mut c_void, item: u64, record: Bytes) -> i32 {
    let taken =
        answer(call, item, |answer| lent(record).and_then(|record| answer.take(record)).map_err(|e| answer.fail(e)));
    i32::from(!matches!(taken, Some(Ok(()))))
}

extern "C" fn request(call: *mut c_void, item: u64, request: Bytes) {
    let read = lent(request)
        .and_then(|text| serde_json::from_slice(text).map_err(|error| format!("its request is unreadable: {error}")));
    answer(call, item, |answer| match read {
        Ok(request) => answer.ask(request),
        Err(error) => answer.fail(error),
    });
}

extern "C" fn fail(call: *mut c_void, item: u64, reason: Bytes) {
    let reason = lent(reason).map(|reason| String::from_utf8_lossy(reason).into_owned());
    answer(call, item, |answer| answer.fail(reason.unwrap_or_else(|error| error)));
}

extern "C" fn log(level: u32, message: Bytes) {
    let message = String::from_utf8_lossy(lent(message).unwrap_or_default());
    match level {
        1 => tracing::error!(target: "plugin", "{message}"),
        2 => tracing::warn!(target: "plugin", "{message}"),
        3 => tracing::info!(target: "plugin", "{message}"),
        _ => tracing::debug!(target: "plugin", "{message}"),
    }
}

extern "C" fn refuse(call: *mut c_void, item: u64) {
    // SAFETY: a plugin calls it within `chain` only, where `call` is the pointer to the batch, on this thread.
    let batch = unsafe { &mut *call.cast::<Batch>() };
    batch.refuse(u32::try_from(item).unwrap_or(u32::MAX));
}

extern "C" fn pass(call: *mut c_void, item: u64, passed: *const abi::Passed) {
    // SAFETY: as in `refuse`; the plugin lends record and keys for the duration of the callback.
    let (batch, passed) = unsafe { (&mut *call.cast::<Batch>(), &*passed) };
    let slice = |bytes: Bytes| (!bytes.ptr.is_null()).then(|| lent(bytes).unwrap_or_default());
    let keys = slice(passed.key).map(|key| (key, slice(passed.wants)));
    batch.record(u32::try_from(item).unwrap_or(u32::MAX), slice(passed.record).unwrap_or_default(), keys);
}

extern "C" fn made(call: *mut c_void, counts: *const u32, length: usize) {
    // SAFETY: as in `refuse`; the plugin lends that many counts for the duration of the callback.
    let (batch, counts) = unsafe { (&mut *call.cast::<Batch>(), std::slice::from_raw_parts(counts, length)) };
    Links::made(batch, counts);
}
