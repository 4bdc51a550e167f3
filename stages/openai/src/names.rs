//! The server's addresses, remembered for a while: to look them up for each call costs more than the call.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

const WHILE: Duration = Duration::from_secs(30);

/// Of the one server that a client asks.
#[derive(Debug, Default)]
pub(crate) struct Names {
    system: DefaultResolver,
    known: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
}

impl Resolver for Names {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let kept =
            known().as_ref().filter(|(since, _)| since.elapsed() < WHILE).map(|(_, addresses)| addresses.clone());
        if let Some(addresses) = kept {
            let mut found = self.empty();
            addresses.into_iter().for_each(|address| found.push(address));
            return Ok(found);
        }
        // Not under the lock: nobody waits for another one's lookup longer than for its own.
        let found = self.system.resolve(uri, config, timeout)?;
        *known() = Some((Instant::now(), found.iter().copied().collect()));
        Ok(found)
    }
}
