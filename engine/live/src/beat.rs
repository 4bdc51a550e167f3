//! Something that is done now and then, on a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two times.
const EVERY: Duration = Duration::from_millis(500);
/// Between two looks whether it is over.
const LOOK: Duration = Duration::from_millis(50);

/// Goes on until it is dropped.
pub(crate) struct Beat {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Beat {
    pub(crate) fn start(each: impl Fn() + Send + 'static) -> Self {
        let over = Arc::<AtomicBool>::default();
        let ends = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            while !ends.load(Relaxed) {
                each();
                let looks = EVERY.as_millis() / LOOK.as_millis();
                (0..looks).take_while(|_| !ends.load(Relaxed)).for_each(|_| std::thread::sleep(LOOK));
            }
        });
        Beat { over, thread: Some(thread) }
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        // One that panicked is gone already.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
