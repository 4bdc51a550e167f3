use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Json;
use crate::erased::{decode, encode};
use crate::record::Record;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Choice {
    Unit,
    New(String),
    Two(u8, i8),
    Fields { a: Option<Box<Choice>>, b: () },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Wide(u64, Option<i64>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct All {
    unsigned: (u8, u16, u32, u64, u128, usize),
    signed: (i8, i16, i32, i64, i128),
    real: (f32, f64),
    letters: Vec<char>,
    flags: [bool; 2],
    choices: Vec<Choice>,
    table: BTreeMap<String, Vec<u8>>,
    shared: Arc<str>,
    json: Json,
    wide: Wide,
}

impl Record for All {
    const NAME: &'static str = "All";
}

fn all(unsigned: u64) -> All {
    let signed = unsigned as i64;
    let inner = Choice::Fields { a: Some(Box::new(Choice::New("ß".into()))), b: () };
    All {
        unsigned: (unsigned as u8, unsigned as u16, unsigned as u32, unsigned, u128::from(unsigned) << 64, 250),
        signed: (signed as i8, signed as i16, signed as i32, signed, i128::from(signed) << 60),
        real: (1.5, -(unsigned as f64)),
        letters: vec!['a', 'ß', '€', '🦀'],
        flags: [true, false],
        choices: vec![Choice::Unit, Choice::Two(7, -7), inner, Choice::Fields { a: None, b: () }],
        table: BTreeMap::from([("k".into(), vec![0, 255]), (String::new(), vec![])]),
        shared: "shared".into(),
        json: Json(serde_json::json!({ "a": [1, null] })),
        wide: Wide(unsigned, Some(signed)),
    }
}

#[test]
fn all_that_is_written_reads_back() {
    for shift in 0..64 {
        for unsigned in [1u64 << shift, (1 << shift) - 1, !0 << shift, 250, 251] {
            let record = all(unsigned);
            assert_eq!(decode::<All>(&encode(&record).unwrap()).unwrap(), record);
        }
    }
}

#[test]
fn damage_is_an_error_or_another_record() {
    let bytes = encode(&all(70_000)).unwrap();
    (0..bytes.len()).for_each(|end| assert!(decode::<All>(&bytes[..end]).is_err(), "{end}"));
    assert!(decode::<All>(&[bytes.as_slice(), &[0]].concat()).is_err());
    for at in 0..bytes.len() {
        for byte in [0, 251, 254, 255, bytes[at] ^ 1] {
            let mut changed = bytes.clone();
            changed[at] = byte;
            drop(decode::<All>(&changed));
        }
    }
}
