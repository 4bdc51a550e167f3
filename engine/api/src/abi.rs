//! The C border, version 1: what a plugin library exports and what the host hands it.
//!
//! Structs begin with their size and only ever grow at the end. Bytes are borrowed for the duration of a call;
//! whoever wants to keep them copies. Nothing allocated on one side is freed on the other. No call unwinds.
//!
//! **Frozen**: what stands here keeps its place, type and meaning for as long as [`MAJOR`] is 1. A plugin that was built for it
//! goes on to load; what is added is optional on both sides. `include/obvert.h` says the same in C, and a test compares the two.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::chain::{Keys, Links};
use crate::erased::{Create, Erased, Manifest, Operation, Sink};
use crate::frame;
use crate::{Error, Level, Request};

/// Version of the border; host and plugin must agree on it exactly.
pub const MAJOR: u32 = 1;
/// Revision within the version: higher ones append fields.
pub const MINOR: u32 = 1;
/// Name of the one symbol that a plugin library exports, of the type [`Entry`].
pub const SYMBOL: &str = "obvert_plugin_v1";
/// Flag of a plugin whose panics unwind, so that the border can catch them.
pub const UNWINDS: u64 = 1;
/// Flag of a stage whose records are JSON texts, of the types of [`crate::record::standard`]: what other languages speak.
pub const JSON: u64 = 2;

/// Borrowed bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Bytes {
    /// First byte; may be null where `len` is 0.
    pub ptr: *const u8,
    /// Number of bytes.
    pub len: usize,
}

impl Bytes {
    /// No bytes, which are something else than an empty slice.
    pub const NONE: Bytes = Bytes { ptr: std::ptr::null(), len: 0 };

    /// Borrows a slice.
    pub fn of(slice: &[u8]) -> Self {
        Bytes { ptr: slice.as_ptr(), len: slice.len() }
    }

    /// The bytes as a slice.
    ///
    /// # Safety
    /// `ptr` must point to `len` readable bytes that live and stay unchanged for `'a`, or be null.
    pub unsafe fn slice<'a>(self) -> &'a [u8] {
        if self.ptr.is_null() {
            return &[];
        }
        // SAFETY: not null, and the caller vouches for the rest.
        unsafe { std::slice::from_raw_parts(self.ptr, self.len) }
    }
}

/// What the host hands to a plugin; lives as long as the process.
#[repr(C)]
#[derive(Debug)]
pub struct Host {
    /// Size of this struct as the host knows it, in bytes.
    pub size: usize,
    /// The host's [`MAJOR`].
    pub major: u32,
    /// The host's [`MINOR`].
    pub minor: u32,
    /// Logs a line at a level from 1 (error) to 5 (trace); the call says for which stage, and may be null.
    pub log: extern "C" fn(call: *mut c_void, level: u32, message: Bytes),
    /// Takes one record (or key, or JSON text) made from the batch's item; the host copies. Not 0: the item has failed, and no
    /// more of it is wanted.
    pub emit: extern "C" fn(call: *mut c_void, item: u64, record: Bytes) -> i32,
    /// Takes one request, as JSON, made for the batch's item. Not 0: as for `emit`.
    pub request: extern "C" fn(call: *mut c_void, item: u64, request: Bytes) -> i32,
    /// Says why the batch's item could not be handled.
    pub fail: extern "C" fn(call: *mut c_void, item: u64, reason: Bytes),
    /// Says that a chain cannot handle the batch's item: it has to be run stage by stage.
    pub refuse: extern "C" fn(call: *mut c_void, item: u64),
    /// Takes one record that a chain made of the batch's item.
    pub pass: extern "C" fn(call: *mut c_void, item: u64, record: *const Passed),
    /// Takes how many records the first stage of a chain made of each item, then the second, and so on.
    pub made: extern "C" fn(call: *mut c_void, counts: *const u32, length: usize),
}

/// What a host of revision 1 or later hands to a plugin: `size` tells whether it does.
#[repr(C)]
#[derive(Debug)]
pub struct Host1 {
    /// What every host has.
    pub host: Host,
    /// Logs a line as `log` does, about the batch's item: it stands there with the record's id.
    pub say: SayFn,
}

/// See [`Host1::say`].
pub type SayFn = extern "C" fn(call: *mut c_void, item: u64, level: u32, message: Bytes);

/// A record at the end of a chain. Bytes that are not there are null.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Passed {
    /// The record.
    pub record: Bytes,
    /// Where the chain leads to a group, its key.
    pub key: Bytes,
    /// The key of the side records that it looks up.
    pub wants: Bytes,
}

/// One stage of a plugin library; lives as long as the process.
#[repr(C)]
#[derive(Debug)]
pub struct Plugin {
    /// Size of this struct as the plugin knows it, in bytes.
    pub size: usize,
    /// The plugin's [`MAJOR`].
    pub major: u32,
    /// The plugin's [`MINOR`].
    pub minor: u32,
    /// [`UNWINDS`], [`JSON`].
    pub flags: u64,
    /// The stage's manifest, as JSON.
    pub manifest: Bytes,
    /// Makes an instance of the stage that is so described from settings in JSON. Null: it failed, and said why through `fail` (item 0).
    pub create: Option<CreateFn>,
    /// Handles a batch (see [`crate::frame`]); may be called from several threads at once, and calls back on the thread
    /// that it was called on. Not 0: the batch itself was unusable, and the reason went through `fail` (item 0).
    pub process: Option<ProcessFn>,
    /// Frees an instance.
    pub destroy: Option<DestroyFn>,
    /// Handles a batch of records by several of the library's stages: instances of maps, so many, and that of the group that
    /// they lead to, or null. Threads are as for `process`. Not 0: it has to be done stage by stage, which tells why. Null: it
    /// always has to.
    pub chain: Option<ChainFn>,
}

/// See [`Plugin::create`].
pub type CreateFn =
    extern "C" fn(plugin: *const Plugin, host: *const Host, settings: Bytes, call: *mut c_void) -> *mut c_void;
/// See [`Plugin::process`].
pub type ProcessFn = extern "C" fn(instance: *mut c_void, host: *const Host, call: *mut c_void, batch: Bytes) -> i32;
/// See [`Plugin::chain`].
pub type ChainFn = extern "C" fn(
    maps: *const *mut c_void,
    count: usize,
    group: *mut c_void,
    host: *const Host,
    call: *mut c_void,
    batch: Bytes,
) -> i32;
/// See [`Plugin::destroy`].
pub type DestroyFn = extern "C" fn(instance: *mut c_void);

/// The exported function: the library's stages by index, null past the last.
pub type Entry = unsafe extern "C" fn(index: u32) -> *const Plugin;

/// Builds the leaked, process-long description of one stage; used by [`crate::plugin!`].
pub fn describe(manifest: &Manifest, create: CreateFn) -> Plugin {
    let text: &'static mut [u8] = serde_json::to_vec(manifest).unwrap_or_default().leak();
    Plugin {
        size: size_of::<Plugin>(),
        major: MAJOR,
        minor: MINOR,
        flags: if cfg!(panic = "unwind") { UNWINDS } else { 0 },
        manifest: Bytes::of(text),
        create: Some(create),
        process: Some(process),
        destroy: Some(destroy),
        chain: Some(chain),
    }
}

/// The body of a stage's `create`.
///
/// # Safety
/// `host` points to a valid [`Host`], and it and the settings live as long as the call.
pub unsafe fn create(make: Create, host: *const Host, settings: Bytes, call: *mut c_void) -> *mut c_void {
    let made = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the host lends its settings for the duration of the call.
        let settings = serde_json::from_slice(unsafe { settings.slice() }).map_err(Error::new)?;
        make(&settings)
    }));
    match made.unwrap_or_else(|panic| Err(reason_of(panic.as_ref()))) {
        Ok(stage) => Box::into_raw(Box::new(stage)).cast(),
        Err(error) => {
            // SAFETY: the host passes a valid `Host` that outlives the call.
            (unsafe { &*host }.fail)(call, 0, Bytes::of(error.0.as_bytes()));
            std::ptr::null_mut()
        }
    }
}

extern "C" fn process(instance: *mut c_void, host: *const Host, call: *mut c_void, batch: Bytes) -> i32 {
    // SAFETY: `instance` came from `create`, so it is a `Box<dyn Erased>` in a box, shared and never mutated;
    // host and batch are lent for the duration of the call.
    let (stage, say, host, batch) =
        unsafe { (&*instance.cast::<Box<dyn Erased>>(), say_of(host), &*host, batch.slice()) };
    match frame::decode(batch) {
        Ok((operation, _, items)) => {
            for (index, item) in (0..).zip(items) {
                handle(stage.as_ref(), operation, item, Answering { host, say, call, index });
            }
            0
        }
        Err(error) => {
            (host.fail)(call, 0, Bytes::of(error.0.as_bytes()));
            1
        }
    }
}

extern "C" fn chain(
    maps: *const *mut c_void,
    count: usize,
    group: *mut c_void,
    host: *const Host,
    call: *mut c_void,
    batch: Bytes,
) -> i32 {
    // SAFETY: the instances came from this library's `create`, as those of `process`, and the host lends as many as it says;
    // host and batch are lent for the duration of the call.
    let (maps, group, host, batch) = unsafe {
        let stage = |instance: *mut c_void| &**instance.cast::<Box<dyn Erased>>();
        let maps = std::slice::from_raw_parts(maps, count).iter().map(|map| stage(*map)).collect::<Vec<_>>();
        (maps, (!group.is_null()).then(|| stage(group)), &*host, batch.slice())
    };
    let done = catch_unwind(AssertUnwindSafe(|| {
        let (_, _, records) = frame::decode(batch)?;
        crate::chain::run(&maps, group, &records, &mut Passing { host, call })
    }));
    i32::from(!matches!(done, Ok(Ok(()))))
}

/// Hands what comes of a chain's items to the host.
struct Passing<'a> {
    host: &'a Host,
    call: *mut c_void,
}

impl Links for Passing<'_> {
    fn refuse(&mut self, item: u32) {
        (self.host.refuse)(self.call, u64::from(item));
    }

    fn record(&mut self, item: u32, record: &[u8], keys: Option<Keys<'_>>) {
        let (key, wants) = keys.map_or((None, None), |(key, wants)| (Some(key), wants));
        let [key, wants] = [key, wants].map(|bytes| bytes.map_or(Bytes::NONE, Bytes::of));
        (self.host.pass)(self.call, u64::from(item), &Passed { record: Bytes::of(record), key, wants });
    }

    fn made(&mut self, counts: &[u32]) {
        (self.host.made)(self.call, counts.as_ptr(), counts.len());
    }
}

fn handle(stage: &dyn Erased, operation: Operation, item: &[u8], mut answer: Answering) {
    let done = catch_unwind(AssertUnwindSafe(|| match operation {
        Operation::Run => stage.run(&frame::decode_invocation(item)?, &mut answer),
        _ => stage.ask(operation, item, &mut answer),
    }));
    if let Err(error) = done.unwrap_or_else(|panic| Err(reason_of(panic.as_ref()))) {
        (answer.host.fail)(answer.call, answer.index, Bytes::of(error.0.as_bytes()));
    }
}

/// How a line about an item is logged, if the host is of a revision that does so.
///
/// # Safety
/// `host` points to a valid [`Host`], or to a [`Host1`] if its size says so.
unsafe fn say_of(host: *const Host) -> Option<SayFn> {
    // SAFETY: the caller vouches for it; what is behind a `Host` is read only where there is such.
    unsafe { ((*host).size >= size_of::<Host1>()).then(|| (*host.cast::<Host1>()).say) }
}

/// Hands what comes of an item to the host.
struct Answering<'a> {
    host: &'a Host,
    say: Option<SayFn>,
    call: *mut c_void,
    index: u64,
}

impl Sink for Answering<'_> {
    fn record(&mut self, record: &[u8]) {
        // Where the item has failed by this, its other records are of no use either.
        let _ = (self.host.emit)(self.call, self.index, Bytes::of(record));
    }

    fn request(&mut self, request: Request) {
        match serde_json::to_vec(&request) {
            Ok(text) => drop((self.host.request)(self.call, self.index, Bytes::of(&text))),
            Err(error) => (self.host.fail)(self.call, self.index, Bytes::of(error.to_string().as_bytes())),
        }
    }

    fn log(&mut self, level: Level, message: &str) {
        let message = Bytes::of(message.as_bytes());
        match self.say {
            Some(say) => say(self.call, self.index, level as u32, message),
            None => (self.host.log)(self.call, level as u32, message),
        }
    }
}

/// The message of a caught panic.
pub fn reason_of(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().map(|s| s.to_string());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    Error(format!("panicked: {}", text.unwrap_or_else(|| "no message".into())))
}

extern "C" fn destroy(instance: *mut c_void) {
    if !instance.is_null() {
        // SAFETY: `instance` came from `create` and the host gives it up here, once.
        let stage = unsafe { Box::from_raw(instance.cast::<Box<dyn Erased>>()) };
        // A panic while the stage is dropped has nobody to go to.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(stage)));
    }
}

/// A table of stages that may be shared between threads: it is never written after it was made.
#[derive(Debug)]
pub struct Table(pub Vec<Plugin>);

// SAFETY: the pointers in a `Plugin` lead to leaked, immutable bytes and to functions.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

impl Table {
    /// Describes a library's stages; none if describing them panics.
    pub fn make(stages: impl FnOnce() -> Vec<Plugin>) -> Self {
        Table(catch_unwind(AssertUnwindSafe(stages)).unwrap_or_default())
    }
}

/// Exports the given stages from a plugin library.
///
/// ```
/// use obvert_api::{Error, Json, Map, Output, Reply, plugin, schemars::JsonSchema, serde::Deserialize};
///
/// /// Keeps the rows whose `text` is short enough; `limit` counts characters.
/// #[derive(Deserialize, JsonSchema)]
/// #[serde(crate = "obvert_api::serde", deny_unknown_fields)]
/// #[schemars(crate = "obvert_api::schemars")]
/// struct MaxLength {
///     limit: usize,
/// }
///
/// impl Map for MaxLength {
///     const NAME: &'static str = "max-length";
///     type In = Json;
///     type Out = Json;
///
///     fn map(&self, row: Json, _: &[Reply], out: &mut Output<Json>) -> Result<(), Error> {
///         let text = row.0["text"].as_str().ok_or_else(|| Error::new("no `text`"))?;
///         if text.chars().count() <= self.limit {
///             out.emit(row);
///         }
///         Ok(())
///     }
/// }
///
/// plugin!(MaxLength);
/// ```
///
/// Two libraries that export the same symbol cannot be linked into one program. One that is to be linked too names its symbol: the
/// border's, `_`, and the name of its crate's library, as in `plugin!("obvert_plugin_v1_max_length": MaxLength)`.
#[macro_export]
macro_rules! plugin {
    ($($stage:ty),+ $(,)?) => {
        $crate::plugin!("obvert_plugin_v1": $($stage),+);
    };
    ($symbol:literal: $($stage:ty),+ $(,)?) => {
        /// The stages of this library, for programs that link it.
        pub fn stages() -> Vec<($crate::erased::Manifest, $crate::erased::Create)> {
            #[allow(unused_imports)]
            use $crate::erased::{ProbeGroup as _, ProbeMap as _};
            vec![$((&$crate::erased::Probe::<$stage>(std::marker::PhantomData)).entry(env!("CARGO_PKG_VERSION"))),+]
        }

        /// The one symbol of the border.
        ///
        /// # Safety
        /// Safe to call at any time from any thread; `unsafe` only because C callers are.
        // SAFETY: the symbol is named after this border, and after the library where that is linked: it stands for nothing else.
        #[unsafe(export_name = $symbol)]
        pub unsafe extern "C" fn obvert_plugin_v1(index: u32) -> *const $crate::abi::Plugin {
            static TABLE: std::sync::OnceLock<$crate::abi::Table> = std::sync::OnceLock::new();
            let table = TABLE.get_or_init(|| $crate::abi::Table::make(|| vec![$({
                extern "C" fn create(
                    _: *const $crate::abi::Plugin,
                    host: *const $crate::abi::Host,
                    settings: $crate::abi::Bytes,
                    call: *mut std::ffi::c_void,
                ) -> *mut std::ffi::c_void {
                    #[allow(unused_imports)]
                    use $crate::erased::{ProbeGroup as _, ProbeMap as _};
                    let (_, make) = (&$crate::erased::Probe::<$stage>(std::marker::PhantomData)).entry("");
                    // SAFETY: the host calls this function, with what `Plugin::create` promises.
                    unsafe { $crate::abi::create(make, host, settings, call) }
                }
                #[allow(unused_imports)]
                use $crate::erased::{ProbeGroup as _, ProbeMap as _};
                let (manifest, _) =
                    (&$crate::erased::Probe::<$stage>(std::marker::PhantomData)).entry(env!("CARGO_PKG_VERSION"));
                $crate::abi::describe(&manifest, create)
            }),+]));
            table.0.get(index as usize).map_or(std::ptr::null(), |plugin| plugin as *const _)
        }
    };
}
