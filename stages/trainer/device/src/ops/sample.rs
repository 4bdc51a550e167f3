//! Drawing tokens from logits.

use super::{check_len, scratch, threads};
use crate::array::{Array, Device, Stored};
use crate::error::Error;
use crate::machine::Argument::Int;

/// Tokens that a thread can set aside, as in the kernel.
const SLOTS: usize = 8;

/// A token for each row of logits `[n, vocab]`, which are overwritten; −1 where a row has a NaN or no finite maximum.
/// `settings` has, row by row, the temperature (0 takes the first of the greatest), top-p in (0, 1], and a number that is
/// uniform in [0, 1).
///
/// # Errors
/// What the machine says.
///
/// # Panics
/// An array is too short.
pub fn tokens<F: Stored>(
    device: &Device<F>,
    tokens: &mut Array<i32>,
    logits: &mut Array<f32>,
    settings: &Array<[f32; 3]>,
    [n, vocab]: [usize; 2],
) -> Result<(), Error> {
    check_len("tokens", tokens.len(), n);
    check_len("logits", logits.len(), n * vocab);
    check_len("settings", settings.len(), n);
    // Two warps at least, since each takes a part of what is to be searched.
    let threads = threads(vocab / 16, 1024).max(64);
    let shared = scratch(threads) + threads * SLOTS * (size_of::<f32>() + size_of::<i32>());
    let arguments = [tokens.whole(), logits.whole(), settings.whole(), Int(vocab as i32)];
    device.launch("sample_tokens", ([n, 1, 1], threads, shared), &arguments)
}
