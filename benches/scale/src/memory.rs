//! The memory of this process while it works.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two looks.
const EVERY: Duration = Duration::from_millis(100);

/// Looks at the resident memory, in MB, until it is asked for what it saw.
pub struct Watch {
    over: Arc<AtomicBool>,
    seen: JoinHandle<Vec<f64>>,
}

impl Watch {
    pub fn start() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&over);
        let seen = std::thread::spawn(move || {
            let mut seen = vec![resident()];
            while !flag.load(Relaxed) {
                std::thread::sleep(EVERY);
                seen.push(resident());
            }
            seen
        });
        Watch { over, seen }
    }

    /// The peak of each quarter of the time.
    pub fn quarters(self) -> Vec<f64> {
        self.over.store(true, Relaxed);
        let seen = self.seen.join().unwrap_or_default();
        seen.chunks(seen.len().div_ceil(4).max(1)).map(|part| part.iter().copied().fold(0.0, f64::max)).collect()
    }
}

/// In MB; 0 where the system does not tell.
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).map_or(0.0, |kib| kib * 1024.0 / 1e6)
}
