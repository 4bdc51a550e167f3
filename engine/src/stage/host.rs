//! What a plugin may call: every callback finds the call that it is about, and whatever it is given is taken or refused. This file and
//! `library` hold all `unsafe` of the engine.

use std::ffi::c_void;

use obvert_api::abi::{self, Bytes, Host, Host1};
use obvert_api::chain::Links;

use super::answers::{Answer, Answers, MOST};
use super::chain::Batch;
use super::said;

static HOST: Host1 = Host1 {
    host: Host {
        size: size_of::<Host1>(),
        major: abi::MAJOR,
        minor: abi::MINOR,
        log,
        emit,
        request,
        fail,
        refuse,
        pass,
        made,
    },
    say,
};

/// What plugins are handed.
pub(super) fn host() -> *const Host {
    (&raw const HOST).cast()
}

/// A call of a plugin: what it is to write on, and for whom. Behind the pointer that the plugin hands back.
pub(super) struct Call<'a> {
    stage: &'a str,
    /// The items of the batch, as far as something can be said of them.
    items: &'a [&'a [u8]],
    about: About,
}

enum About {
    Items(Answers),
    Chain {
        batch: Batch,
        /// Whether something was called that is not for chains.
        misused: bool,
    },
}

impl<'a> Call<'a> {
    /// For items one by one.
    pub(super) fn items(stage: &'a str, items: &'a [&'a [u8]]) -> Self {
        Call { stage, items, about: About::Items(Answers::for_items(items.len())) }
    }

    /// For a stage that is made.
    pub(super) fn creation(stage: &'a str) -> Self {
        Call { stage, items: &[], about: About::Items(Answers::for_items(1)) }
    }

    /// For a batch of a chain.
    pub(super) fn chain(stage: &'a str, count: usize) -> Self {
        Call { stage, items: &[], about: About::Chain { batch: Batch::of(count), misused: false } }
    }

    /// What the plugin is to hand back.
    pub(super) fn pointer(&mut self) -> *mut c_void {
        std::ptr::from_mut(self).cast()
    }

    /// What it said of the items.
    pub(super) fn answers(self) -> Answers {
        match self.about {
            About::Items(answers) => answers,
            About::Chain { .. } => Answers::for_items(0),
        }
    }

    /// What it said of a chain's batch, if that can be relied on.
    pub(super) fn batch(self) -> Option<Batch> {
        match self.about {
            About::Chain { batch, misused: false } => Some(batch),
            _ => None,
        }
    }
}

/// The call that a callback is about; none for a null pointer.
fn call_of<'a>(call: *mut c_void) -> Option<&'a mut Call<'a>> {
    // SAFETY: null, or the pointer that was made for the present call of the plugin, on this thread, and is handed back within it:
    // so the border demands. No other reference to it is alive while the plugin runs.
    unsafe { call.cast::<Call<'_>>().as_mut() }
}

/// Lets a callback write on the answer it is about.
fn answer<T>(call: *mut c_void, item: u64, write: impl FnOnce(&mut Answer) -> T) -> Option<T> {
    match &mut call_of(call)?.about {
        About::Items(answers) => answers.about(item).map(write),
        About::Chain { misused, .. } => {
            *misused = true;
            None
        }
    }
}

/// Lets a callback write on a chain's batch.
fn chain(call: *mut c_void, called: &str, write: impl FnOnce(&mut Batch)) {
    match call_of(call).map(|call| &mut call.about) {
        Some(About::Chain { batch, .. }) => write(batch),
        Some(About::Items(answers)) => answers.misuse(called),
        None => {}
    }
}

/// Bytes that a plugin lends, or what is wrong with them.
fn lent<'a>(bytes: Bytes) -> Result<&'a [u8], String> {
    match (bytes.ptr.is_null(), bytes.len) {
        (true, 1..) => Err(format!("it passed a null pointer to {} bytes", bytes.len)),
        (_, length) if length > MOST => Err(Answer::TOO_MUCH.into()),
        // SAFETY: the plugin lends the bytes for the duration of the callback, in which the slice stays.
        _ => Ok(unsafe { bytes.slice() }),
    }
}

/// 0 where the item may go on.
fn taken(taken: Option<Result<(), ()>>) -> i32 {
    i32::from(taken != Some(Ok(())))
}

extern "C" fn emit(call: *mut c_void, item: u64, record: Bytes) -> i32 {
    taken(answer(call, item, |answer| {
        lent(record).and_then(|record| answer.take(record)).map_err(|error| answer.fail(error))
    }))
}

extern "C" fn request(call: *mut c_void, item: u64, request: Bytes) -> i32 {
    taken(answer(call, item, |answer| {
        let unreadable = |error: serde_json::Error| format!("its request is unreadable: {error}");
        let read = lent(request).and_then(|text| Ok((serde_json::from_slice(text).map_err(unreadable)?, text.len())));
        read.and_then(|(request, bytes)| answer.ask(request, bytes)).map_err(|error| answer.fail(error))
    }))
}

extern "C" fn fail(call: *mut c_void, item: u64, reason: Bytes) {
    let reason = lent(reason).map(|reason| String::from_utf8_lossy(reason).into_owned());
    answer(call, item, |answer| answer.fail(reason.unwrap_or_else(|error| error)));
}

extern "C" fn log(call: *mut c_void, level: u32, message: Bytes) {
    say_of(call, None, level, message);
}

extern "C" fn say(call: *mut c_void, item: u64, level: u32, message: Bytes) {
    say_of(call, Some(item), level, message);
}

fn say_of(call: *mut c_void, item: Option<u64>, level: u32, message: Bytes) {
    let message = String::from_utf8_lossy(lent(message).unwrap_or_default());
    let call = call_of(call);
    let stage = call.as_ref().map(|call| call.stage).unwrap_or_default();
    let items = call.map(|call| call.items).unwrap_or_default();
    // A stage's only item needs no number.
    let item = item.and_then(|item| items.get(usize::try_from(item).ok()?)).or(if let [only] = items {
        Some(only)
    } else {
        None
    });
    said::line(stage, item.copied(), level, &message);
}

extern "C" fn refuse(call: *mut c_void, item: u64) {
    chain(call, "refuse", |batch| batch.refuse(u32::try_from(item).unwrap_or(u32::MAX)));
}

extern "C" fn pass(call: *mut c_void, item: u64, passed: *const abi::Passed) {
    // SAFETY: null, or the plugin lends a record and its keys for the duration of the callback.
    let passed = unsafe { passed.as_ref() };
    chain(call, "pass", |batch| {
        let item = u32::try_from(item).unwrap_or(u32::MAX);
        let slice = |bytes: Bytes| (!bytes.ptr.is_null()).then(|| lent(bytes)).transpose();
        let lent =
            passed.map(|passed| Ok::<_, String>((slice(passed.record)?, slice(passed.key)?, slice(passed.wants)?)));
        match lent {
            Some(Ok((record, key, wants))) => {
                batch.record(item, record.unwrap_or_default(), key.map(|key| (key, wants)))
            }
            _ => batch.refuse(item),
        }
    });
}

extern "C" fn made(call: *mut c_void, counts: *const u32, length: usize) {
    if counts.is_null() || length > MOST {
        return;
    }
    // SAFETY: not null, and the plugin lends that many counts for the duration of the callback.
    let counts = unsafe { std::slice::from_raw_parts(counts, length) };
    chain(call, "made", |batch| Links::made(batch, counts));
}
