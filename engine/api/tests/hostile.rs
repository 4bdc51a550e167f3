//! The same as the fuzz target (`fuzz/`), on bytes that a fixed generator makes of sound ones: short enough for every run of the tests.

// A helper that fails fails its test.
#![allow(clippy::unwrap_used)]

use obvert_api::erased::encode;
use obvert_api::frame::{Writer, decode, decode_answer, decode_invocation, encode_answer, encode_invocation};
use obvert_api::record::STANDARD;
use obvert_api::{Json, Operation, Outcome, Reply};

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound.max(1)
    }

    /// Changes some bytes, takes some out, puts some in, or cuts the rest off.
    fn damage(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(5) {
                0 if !bytes.is_empty() => bytes[at] = self.below(256) as u8,
                1 if !bytes.is_empty() => bytes[at] = [0, 0xff, 0x7f, 0x80, 251, 252, 253][self.below(7)],
                2 if !bytes.is_empty() => drop(bytes.remove(at)),
                3 => bytes.insert(at, self.below(256) as u8),
                _ => bytes.truncate(at),
            }
        }
        bytes
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let reply = Reply { text: "yes".into(), prompt_tokens: 3, reply_tokens: 1, finished: true };
    let row = encode(&Json(obvert_api::serde_json::json!({ "id": 1, "list": [1, 2, "three"] }))).unwrap();
    let mut batch = Writer::new(Operation::Run, "Json");
    batch.run_map(&row, std::slice::from_ref(&reply)).unwrap();
    batch.run_group(&encode_invocation("key", &[&row, b""], &[&row], &[]).unwrap(), &[reply]).unwrap();
    let outcome = Outcome { records: [row.as_slice().into()].into_iter().collect(), requests: Vec::new() };
    let judged = br#"{"response": {"turn": {"session": {"dialogue": "d", "profile": {"id": "p", "description": "x"}, "persona": {"id": "u"}},
        "query": "q", "active": ["c"]}, "sample": 1, "text": "t", "model": "m"}, "verdicts": [{"constraint": "c", "satisfied": null, "by": "program"}]}"#;
    let judged = STANDARD
        .iter()
        .find(|standard| standard.name == "Judged")
        .map(|standard| (standard.from_json)(judged).unwrap());
    vec![batch.finish(), encode_answer(&Ok(outcome)), row, judged.unwrap()]
}

#[test]
fn damaged_bytes_are_read_or_refused() {
    let (seeds, mut numbers, mut read) = (seeds(), Numbers(1), [0; 3]);
    for round in 0..40_000 {
        let bytes = numbers.damage(&seeds[round % seeds.len()]);
        if let Ok((_, _, items)) = decode(&bytes) {
            read[0] += 1;
            items.into_iter().for_each(|item| drop(decode_invocation(item)));
        }
        read[1] += usize::from(decode_answer(&bytes).is_ok());
        drop(decode_invocation(&bytes));
        for standard in STANDARD {
            let Ok(json) = (standard.to_json)(&bytes) else { continue };
            read[2] += 1;
            // What can be shown can be read again.
            let again = (standard.from_json)(&json).and_then(|bytes| (standard.to_json)(&bytes));
            assert_eq!(again.as_ref(), Ok(&json), "{}", standard.name);
        }
    }
    assert!(read.iter().all(|read| *read > 100), "hardly any bytes were sound: {read:?}");
}
