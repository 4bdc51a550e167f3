//! A plugin that is built anew again and again: each is another file, loaded beside those before it, which stay mapped.

use std::fs;
use std::path::Path;
use std::process::Command;

use obvert_api::Json;
use obvert_api::erased::{decode, encode};
use obvert_engine::stage::{Library, Work, load, load_in_place};
use serde_json::json;

/// As many as a developer makes in years.
const RELOADS: usize = 10_000;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// The example in C, changed so, as a library; without a compiler the test says that it skips.
fn compiled(library: &Path, change: impl FnOnce(String) -> String) -> Result<bool, Box<dyn std::error::Error>> {
    let api = Path::new(env!("CARGO_MANIFEST_DIR")).join("api");
    let source = library.with_extension("c");
    fs::write(&source, change(fs::read_to_string(api.join("examples/shorten.c"))?))?;
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O2", "-I"]).arg(api.join("include")).arg("-o").arg(library).arg(source);
    let Ok(status) = cc.status() else {
        eprintln!("SKIPPED: no C compiler");
        return Ok(false);
    };
    assert!(status.success());
    Ok(true)
}

/// What a library's stage, with `most = 5`, makes of a row with this text.
fn shortened(mut stages: Vec<Library>, text: &str) -> Result<String, Box<dyn std::error::Error>> {
    let record = encode(&Json(json!({ "text": text })))?;
    let stage = stages.remove(0).create(&json!({ "most": 5 }))?;
    let made = stage.run(&[Work { item: &record, replies: &[] }]).remove(0)?;
    Ok(decode::<Json>(&made.records[0])?.0["text"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_plugin_can_be_loaded_anew_ten_thousand_times() -> Outcome {
    let folder = tempfile::tempdir()?;
    let library = folder.path().join("libshorten.so");
    if !compiled(&library, |source| source)? {
        return Ok(());
    }
    for reload in 0..RELOADS {
        let copy = folder.path().join(format!("{reload}.so"));
        fs::copy(&library, &copy)?;
        assert_eq!(shortened(load_in_place(&copy)?, "a long text")?, "a lon", "reload {reload}");
        // What is mapped needs its name no more.
        fs::remove_file(&copy)?;
    }
    Ok(())
}

/// Somebody copies another file over a library that is in use, half of it; and then the rest.
#[test]
fn a_library_that_is_written_over_is_in_use_as_it_was() -> Outcome {
    let folder = tempfile::tempdir()?;
    let library = folder.path().join("libshorten.so");
    if !compiled(&library, |source| source)? {
        return Ok(());
    }
    let record = encode(&Json(json!({ "text": "a long text" })))?;
    let stage = load(&library)?.remove(0).create(&json!({ "most": 5 }))?;
    let whole = fs::read(&library)?;
    for cut in [0, 10, 63, 3000, whole.len() / 2] {
        fs::write(&library, &whole[..cut])?;
        assert!(stage.run(&[Work { item: &record, replies: &[] }]).remove(0).is_ok());
        let refused = load(&library).err().ok_or("it was loaded")?;
        let said = if cut == 0 { "file too short" } else { "it is cut off: it says that it has" };
        assert!(refused.contains(said), "{cut}: {refused}");
    }
    fs::write(&library, &whole)?;
    assert_eq!(shortened(load(&library)?, "a long text")?, "a lon");
    Ok(())
}

/// The system leads a path to what it led to first: a library that was built anew in its place is another even so.
#[test]
fn a_library_that_is_replaced_is_the_new_one() -> Outcome {
    let folder = tempfile::tempdir()?;
    let [library, other] = ["libshorten.so", "libother.so"].map(|name| folder.path().join(name));
    if !compiled(&library, |source| source)? {
        return Ok(());
    }
    compiled(&other, |source| source.replace("next - start > stage->most", "next - start >= stage->most"))?;
    let kept = folder.path().join("kept.so");
    fs::copy(&library, &kept)?;
    for round in 0..3 {
        assert_eq!(shortened(load(&library)?, "a long text")?, "a lon", "round {round}");
        fs::rename(&other, &library)?;
        assert_eq!(shortened(load(&library)?, "a long text")?, "a lo", "round {round}");
        fs::copy(&library, &other)?;
        fs::remove_file(&library)?;
        fs::copy(&kept, &library)?;
    }
    Ok(())
}
