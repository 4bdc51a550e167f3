//! Whatever bytes come over the border are read or refused: as a batch, as an answer, as records of every type.
#![no_main]

use libfuzzer_sys::fuzz_target;
use obvert_api::frame::{decode, decode_answer, decode_invocation};
use obvert_api::record::STANDARD;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((_, _, items)) = decode(bytes) {
        items.into_iter().for_each(|item| drop(decode_invocation(item)));
    }
    drop(decode_invocation(bytes));
    drop(decode_answer(bytes));
    for standard in STANDARD {
        if let Ok(json) = (standard.to_json)(bytes) {
            // What is a record is one however it is written.
            (standard.from_json)(&json).expect("a record that is shown can be read");
        }
    }
});
