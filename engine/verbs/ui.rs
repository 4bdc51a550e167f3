//! `ui`: a page for a run, in the browser.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use obvert_live::page::{Site, listen, serve};

use super::Refused;
use super::top::{board, folder};

/// Arguments of `ui`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Folder of the results; by default that of the run in `runs` that was heard of last.
    folder: Option<PathBuf>,
    /// Address to be at. One that others can reach wants a token.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Port to be at; 0 is any that is free.
    #[arg(long, default_value_t = 7878)]
    port: u16,
    /// What a viewer has to know. Better in the environment, where others on the machine do not see it.
    #[arg(long, env = "OBVERT_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

/// Serves it until Ctrl-C.
pub fn ui(arguments: &Arguments) -> anyhow::Result<()> {
    let out = folder(arguments.folder.as_deref())?;
    let missing = || Refused(format!("error: {}: there is no such folder", out.display()));
    anyhow::ensure!(out.is_dir(), missing());
    if let Some(token) = &arguments.token {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if token.len() < 16 || !token.chars().all(plain) {
            return Err(Refused("error: --token wants at least 16 letters, digits, `-` or `_`".into()).into());
        }
    }
    let site = Site { out, token: arguments.token.clone() };
    let address = SocketAddr::new(arguments.host, arguments.port);
    let listener = listen(address, &site).map_err(|error| match error.kind() {
        // Others can reach it, or it is not for everybody to open.
        ErrorKind::PermissionDenied => Refused(format!("error: {address}: {error}")).into(),
        _ => anyhow::Error::from(error).context(address.to_string()),
    })?;
    if board(&site.out).is_err() {
        println!("no run has been in {} yet; the page waits for one", site.out.display());
    }
    let of = if site.token.is_some() { "/?token=…" } else { "" };
    println!("http://{}{of}  shows {}; Ctrl-C ends it", listener.local_addr()?, site.out.display());
    Ok(serve(listener, site)?)
}
