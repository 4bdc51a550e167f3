//! `ui`: a page for the run in a folder, in progress or over.
//!
//! It reads the folder, on behalf of all viewers at once, and writes nothing but what people ask for: so the run does not notice how
//! many look. All of the page is in the program.

mod curves;
mod guard;
mod latest;
mod metrics;
mod shown;
mod told;

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Router, middleware};

use crate::records::{Name, Reader};
use latest::Latest;

/// Where and for whom a page is.
pub struct Site {
    /// Folder of the run.
    pub out: PathBuf,
    /// What a viewer has to know; nothing where the page is for this machine alone.
    pub token: Option<String>,
}

/// What all requests share.
struct Shared {
    site: Site,
    latest: Latest,
    /// What is known of records, by when their run began and the name of their log.
    readers: Mutex<Readers>,
}

type Readers = HashMap<(u64, Name), Arc<RwLock<Reader>>>;

type State = axum::extract::State<Arc<Shared>>;

/// What a page is made of.
const FILES: [(&str, &str, &str); 3] = [
    ("/", "text/html; charset=utf-8", include_str!("page/index.html")),
    ("/page.css", "text/css; charset=utf-8", include_str!("page/page.css")),
    ("/page.js", "text/javascript; charset=utf-8", include_str!("page/page.js")),
];

/// Opens an address; one that is not of this machine alone wants a token.
///
/// # Errors
/// It cannot be opened, or is open to others and there is no token.
pub fn listen(address: SocketAddr, site: &Site) -> io::Result<TcpListener> {
    if !address.ip().is_loopback() && site.token.is_none() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "others can reach this address: it wants a token"));
    }
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves the page until the process ends.
///
/// # Errors
/// The machine has no room for another thread; the address is lost.
pub fn serve(listener: TcpListener, site: Site) -> io::Result<()> {
    // One thread looks after all viewers; what reads the disk has others.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
    runtime.block_on(async {
        let latest = Latest::follow(site.out.clone());
        let shared = Arc::new(Shared { site, latest, readers: Mutex::default() });
        tokio::spawn(shown::follow(Arc::clone(&shared)));
        axum::serve(tokio::net::TcpListener::from_std(listener)?, router(shared)).await
    })
}

fn router(shared: Arc<Shared>) -> Router {
    let files = FILES.into_iter().fold(Router::new(), |router, (path, kind, text)| {
        router.route(
            path,
            get(move || async move { ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache")], text).into_response() }),
        )
    });
    files
        .route("/api/board", get(latest::board))
        .route("/api/events", get(latest::events))
        .route("/api/curves/{stage}", get(curves::curves))
        .route("/api/records", get(shown::logs))
        .route("/api/records/{log}", get(shown::records))
        .route("/api/steer/{what}", post(told::steer))
        .route("/api/veto", get(told::vetoes).post(told::veto).delete(told::unveto))
        .route("/api/correct", get(told::corrections).post(told::correct).delete(told::uncorrect))
        .route("/metrics", get(metrics::metrics))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), guard::guard))
        .with_state(shared)
}
