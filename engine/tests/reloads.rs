//! A plugin that is built anew again and again: each is another file, loaded beside those before it, which stay mapped.

use std::fs;
use std::path::Path;
use std::process::Command;

use obvert_engine::stage::{Work, load};
use serde_json::json;

/// As many as a developer makes in years.
const RELOADS: usize = 10_000;

#[test]
fn a_plugin_can_be_loaded_anew_ten_thousand_times() -> Result<(), Box<dyn std::error::Error>> {
    let api = Path::new(env!("CARGO_MANIFEST_DIR")).join("api");
    let folder = tempfile::tempdir()?;
    let library = folder.path().join("libshorten.so");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O2", "-I"]).arg(api.join("include")).arg("-o").arg(&library);
    let Ok(compiled) = cc.arg(api.join("examples/shorten.c")).status() else {
        eprintln!("SKIPPED: no C compiler");
        return Ok(());
    };
    assert!(compiled.success());
    let record = obvert_api::erased::encode(&obvert_api::Json(json!({ "text": "a long text" })))?;
    let expected = obvert_api::erased::encode(&obvert_api::Json(json!({ "text": "a lon" })))?;
    for reload in 0..RELOADS {
        let copy = folder.path().join(format!("{reload}.so"));
        fs::copy(&library, &copy)?;
        let stage = load(&copy)?.remove(0).create(&json!({ "most": 5 }))?;
        // What is mapped needs its name no more.
        fs::remove_file(&copy)?;
        let made = stage.run(&[Work { item: &record, replies: &[] }]).remove(0)?;
        assert_eq!(*made.records[0], *expected, "reload {reload}");
    }
    Ok(())
}
