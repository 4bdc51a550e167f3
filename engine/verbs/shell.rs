//! `completions` and `man`: what shells and `man` know of the program.

use std::io;
use std::path::Path;

use anyhow::Context;
use clap::Command;
use clap_complete::{Shell, generate};

/// Prints a shell's completions.
pub fn completions(shell: Shell, mut command: Command) -> anyhow::Result<()> {
    let name = command.get_name().to_owned();
    generate(shell, &mut command, name, &mut io::stdout());
    Ok(())
}

/// Writes a page for the program and one for each verb.
pub fn man(folder: &Path, command: Command) -> anyhow::Result<()> {
    let written = std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder));
    written.with_context(|| folder.display().to_string())
}
