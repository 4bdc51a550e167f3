//! A stage that does with each row what its `do` says, for tests of how a run contains that.

use std::time::Duration;

use obvert_api::schemars::JsonSchema;
use obvert_api::serde::Deserialize;
use obvert_api::{Error, Json, Level, Map, Output, Reply, Request, plugin};

/// It has no settings.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "obvert_api::serde", deny_unknown_fields)]
#[schemars(crate = "obvert_api::schemars")]
struct Misbehave {}

impl Map for Misbehave {
    const NAME: &'static str = "misbehave";
    type In = Json;
    type Out = Json;

    fn map(&self, row: Json, _: &[Reply], out: &mut Output<Json>) -> Result<(), Error> {
        match row.0["do"].as_str().unwrap_or("pass") {
            "error" => return Err(Error::new("told to fail")),
            "drop" => return Ok(()),
            "twice" => out.emit(row.clone()),
            "say" => out.log(Level::Warn, "told to say so"),
            "say and fail" => {
                out.log(Level::Info, "told to fail");
                return Err(Error::new("told to fail"));
            }
            "print" => println!("a line where answers go"),
            "abort" => std::process::abort(),
            "exit" => std::process::exit(3),
            "hang" => loop {
                std::thread::sleep(Duration::from_secs(1));
            },
            "panic" => panic_now(),
            "segfault" => end_by("-SEGV"),
            // Zeroes would cost nothing until they are written.
            "allocate" => drop(std::hint::black_box(vec![1u8; 1 << 30])),
            "flood" => (0..80).for_each(|_| out.emit(Json("x".repeat(1 << 20).into()))),
            "ask" => out.request(Request::new("nobody", Vec::new())),
            _ => {}
        }
        out.emit(row);
        Ok(())
    }
}

/// Ends this process by a signal, as the system does where it reads what it must not. The first one only takes away the handler that
/// looks for overflown stacks.
fn end_by(signal: &str) {
    for _ in 0..2 {
        let _ = std::process::Command::new("kill").args([signal, &std::process::id().to_string()]).status();
    }
}

#[allow(clippy::panic)]
fn panic_now() {
    panic!("told to panic");
}

plugin!(Misbehave);
