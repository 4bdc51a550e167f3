//! The border as the C header has it is the one that Rust has: sizes, offsets and numbers.

// A helper that fails fails its test.
#![allow(clippy::unwrap_used)]

use std::mem::offset_of;
use std::process::Command;

use obvert_api::abi::{self, Bytes, Host, Host1, Passed, Plugin};
use obvert_api::frame::{Codec, Writer};
use obvert_api::{Operation, Port};

/// C expressions and what they are in Rust.
fn expected() -> Vec<(String, u64)> {
    let mut all = Vec::new();
    let mut structure = |name: &str, size: usize, fields: &[(&str, usize)]| {
        all.push((format!("sizeof(obvert_{name})"), size as u64));
        all.extend(fields.iter().map(|(field, at)| (format!("offsetof(obvert_{name}, {field})"), *at as u64)));
    };
    macro_rules! structure {
        ($c:literal, $rust:ident, $($field:ident),+) => {
            structure($c, size_of::<$rust>(), &[$((stringify!($field), offset_of!($rust, $field))),+])
        };
    }
    structure!("bytes", Bytes, ptr, len);
    structure!("passed", Passed, record, key, wants);
    let host = ("host", size_of::<Host1>());
    macro_rules! fields {
        ($rust:ident, $($field:ident),+) => { [$((stringify!($field), offset_of!($rust, $field))),+] };
    }
    // The last field stands behind those that every host has.
    let of_all = fields!(Host, size, major, minor, log, emit, request, fail, refuse, pass, made);
    structure(host.0, host.1, &[&of_all[..], &fields!(Host1, say)].concat());
    structure!("plugin", Plugin, size, major, minor, flags, manifest, create, process, destroy, chain);
    let magic = Writer::new(Operation::Run, "").finish();
    let magic = u32::from_le_bytes([magic[0], magic[1], magic[2], magic[3]]);
    let numbers = [
        ("MAJOR", u64::from(abi::MAJOR)),
        ("MINOR", u64::from(abi::MINOR)),
        ("UNWINDS", abi::UNWINDS),
        ("JSON", abi::JSON),
        ("MAGIC", u64::from(magic)),
        ("CODEC_BINCODE", Codec::Bincode as u64),
        ("CODEC_JSON", Codec::Json as u64),
    ];
    let operations = [
        ("RUN", Operation::Run),
        ("KEY", Operation::Key),
        ("WITH_KEY", Operation::WithKey),
        ("TO_JSON_IN", Operation::ToJson(Port::In)),
        ("TO_JSON_WITH", Operation::ToJson(Port::With)),
        ("TO_JSON_OUT", Operation::ToJson(Port::Out)),
        ("FROM_JSON_IN", Operation::FromJson(Port::In)),
        ("FROM_JSON_WITH", Operation::FromJson(Port::With)),
        ("FROM_JSON_OUT", Operation::FromJson(Port::Out)),
        ("CHAIN", Operation::Chain),
    ];
    let operations = operations.map(|(name, operation)| (name, u64::from(operation.code())));
    all.extend(numbers.into_iter().chain(operations).map(|(name, number)| (format!("OBVERT_{name}"), number)));
    all
}

#[test]
fn the_header_says_what_the_border_is() {
    is_the_border(concat!(env!("CARGO_MANIFEST_DIR"), "/include"), &expected());
}

/// `v1/obvert.h` is the header as it was frozen: it is not edited. What it says of sizes and revision may grow.
#[test]
fn the_header_of_version_1_says_so_too() {
    let grows = |name: &str| {
        let fields = ["sizeof(obvert_host", "sizeof(obvert_plugin", "offsetof(obvert_host, say)"];
        fields.iter().any(|field| name.starts_with(field)) || name.contains("MINOR")
    };
    let expected: Vec<_> = expected().into_iter().filter(|(name, _)| !grows(name)).collect();
    is_the_border(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/v1"), &expected);
}

/// Has a C program say what these expressions are with the header of a folder.
fn is_the_border(include: &str, expected: &[(String, u64)]) {
    let lines: String = expected
        .iter()
        .map(|(expression, _)| format!("printf(\"%llu\\n\", (unsigned long long)({expression}));\n"))
        .collect();
    let program = format!("#include <stdio.h>\n#include \"obvert.h\"\nint main(void) {{ {lines} return 0; }}\n");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("layout.c"), program).unwrap();
    let flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-I", include, "-o", "layout", "layout.c"];
    let Ok(compiled) = Command::new("cc").args(flags).current_dir(folder.path()).status() else {
        eprintln!("SKIPPED: no C compiler");
        return;
    };
    assert!(compiled.success());
    let printed = Command::new(folder.path().join("layout")).output().unwrap().stdout;
    let printed: Vec<u64> = String::from_utf8(printed).unwrap().lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(printed.len(), expected.len());
    for ((expression, rust), c) in expected.iter().zip(printed) {
        assert_eq!(c, *rust, "{expression}");
    }
}

/// Numbers of version 1 on 64-bit machines, which no change of this code may change.
#[test]
#[cfg(target_pointer_width = "64")]
fn version_1_stays_as_it_is() {
    assert_eq!((abi::MAJOR, abi::SYMBOL), (1, "obvert_plugin_v1"));
    assert_eq!([size_of::<Bytes>(), size_of::<Passed>()], [16, 48]);
    let host = [
        offset_of!(Host, log),
        offset_of!(Host, emit),
        offset_of!(Host, request),
        offset_of!(Host, fail),
        offset_of!(Host, refuse),
        offset_of!(Host, pass),
        offset_of!(Host, made),
    ];
    assert_eq!(host, [16, 24, 32, 40, 48, 56, 64]);
    let plugin = [
        offset_of!(Plugin, flags),
        offset_of!(Plugin, manifest),
        offset_of!(Plugin, create),
        offset_of!(Plugin, process),
        offset_of!(Plugin, destroy),
        offset_of!(Plugin, chain),
    ];
    assert_eq!(plugin, [16, 24, 40, 48, 56, 64]);
    let numbers = expected().into_iter().filter(|(name, _)| name.starts_with("OBVERT_") && !name.contains("MINOR"));
    let numbers: Vec<u64> = numbers.map(|(_, number)| number).collect();
    let magic = u64::from(u32::from_le_bytes(*b"OBV1"));
    assert_eq!(numbers, [1, 1, 2, magic, 1, 2, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    // Later revisions of the version may only be longer.
    assert!(size_of::<Host>() >= 72 && size_of::<Plugin>() >= 72);
}
