//! One server, asked over connections that are kept.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use obvert_api::{Reply, Request};
use obvert_engine::model::{Failure, Finding, Model, Then};
use serde_json::Value;
use ureq::Agent;
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE};
use ureq::http::{HeaderValue, Method, Response, StatusCode, Uri};
use ureq::unversioned::transport::DefaultConnector;

use crate::adapters::Loaded;
use crate::names::Names;
use crate::{Settings, Structured, failure, probe, reply, request};

/// Bytes of an answer, and of each token of it, at most: one that does not end must not fill the memory.
const LONGEST: u64 = 1 << 20;
const PER_TOKEN: u64 = 256;
/// How long a call may take where the pipeline does not say.
const PATIENCE: Duration = Duration::from_secs(600);
const COMPLETIONS: &str = "chat/completions";
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Connections that are kept while nobody uses them.
const IDLE: usize = 1024;

/// Ways to tell the form of a reply, the best one first.
const WAYS: [Structured; 3] = [Structured::JsonSchema, Structured::JsonObject, Structured::None];

/// A model of a server. Its key is in memory only, and taken out of whatever the server says.
pub struct Client {
    pub(crate) settings: Settings,
    key: Option<String>,
    /// What goes with every call.
    bearer: Option<HeaderValue>,
    /// Where completions are.
    completions: Uri,
    /// Made for what the first call may take, as most calls may.
    agent: OnceLock<Agent>,
    /// Whether the server has answered well.
    known: AtomicBool,
    /// Which of [`WAYS`] it has not refused.
    way: AtomicUsize,
    /// The adapters that it has been handed.
    loaded: Loaded,
}

impl Client {
    /// Reads the key; the server is not asked yet.
    ///
    /// # Errors
    /// The environment has no key.
    pub fn open(settings: Settings) -> Result<Self, String> {
        let key = settings.key.as_ref().map(|key| key.reveal()).transpose().map_err(|error| error.0)?;
        let bearer = key.as_ref().map(|key| HeaderValue::try_from(format!("Bearer {key}"))).transpose();
        let hidden = |mut bearer: HeaderValue| {
            bearer.set_sensitive(true);
            bearer
        };
        let completions = Uri::try_from(format!("{}/{COMPLETIONS}", settings.base_url));
        Ok(Client {
            completions: completions.map_err(|error| format!("`base_url`: {error}"))?,
            bearer: bearer.map_err(|_| "the key holds what no header may")?.map(hidden),
            settings,
            key,
            agent: OnceLock::new(),
            known: AtomicBool::new(false),
            way: AtomicUsize::new(0),
            loaded: Loaded::default(),
        })
    }

    /// What the server says to a path, with a body or without; the status and the answer's bytes.
    pub(crate) fn ask(
        &self,
        path: &str,
        body: Option<&Value>,
        within: Duration,
    ) -> Result<(StatusCode, Vec<u8>), Failure> {
        let uri = Uri::try_from(format!("{}/{path}", self.settings.base_url));
        let answer = self.send(uri.map_err(|error| Failure::new(error, Then::End))?, body, within)?;
        let (status, body) = (answer.status(), self.cleaned(bytes(answer, LONGEST, within)?));
        Ok((status, body))
    }

    fn send(&self, to: Uri, body: Option<&Value>, within: Duration) -> Result<Response<ureq::Body>, Failure> {
        let agent = self.agent.get_or_init(|| agent(within));
        let method = if body.is_some() { Method::POST } else { Method::GET };
        let call = ureq::http::Request::builder().method(method).uri(to);
        let call = self.bearer.iter().fold(call, |call, bearer| call.header(AUTHORIZATION, bearer));
        let sent = match body {
            None => call.body(()).map_err(ureq::Error::from).and_then(|call| agent.run(of_time(agent, call, within))),
            Some(body) => call
                .header(CONTENT_TYPE, JSON)
                .body(body.to_string())
                .map_err(ureq::Error::from)
                .and_then(|call| agent.run(of_time(agent, call, within))),
        };
        sent.map_err(|error| failure::of_call(&error, within))
    }

    /// The reply to one request.
    pub(crate) fn answer(&self, request: &Request, within: Duration) -> Result<Reply, Failure> {
        self.answers(request, 1, within).and_then(|mut replies| replies.remove(0))
    }

    /// The replies to so many samples of a request, of which this is the first.
    fn answers(&self, request: &Request, samples: usize, within: Duration) -> Result<Replies, Failure> {
        let (begin, mut left) = (Instant::now(), within);
        let model = match &request.adapter {
            Some(folder) => self.loaded.name(self, folder, within)?,
            None => self.settings.model.clone(),
        };
        loop {
            let (way, structured) = self.structured();
            let body = request::body(&self.settings, &model, structured, request, samples);
            match self.answer_to(&Value::Object(body), request, samples, left) {
                // Another call may have found that out already.
                Err((_, true)) if self.settings.structured == Structured::Auto && structured != Structured::None => {
                    let _ = self.way.compare_exchange(way, way + 1, Relaxed, Relaxed);
                    left = within.saturating_sub(begin.elapsed());
                }
                Err((failure, _))
                    if request.adapter.is_some() && matches!(failure.then, Then::Again | Then::Unreached) =>
                {
                    // A server that has begun anew has none.
                    self.loaded.forget(&model);
                    return Err(failure);
                }
                answered => return answered.map_err(|(failure, _)| failure),
            }
        }
    }

    /// How the server is told the form of a reply, as far as is known by now.
    pub(crate) fn structured(&self) -> (usize, Structured) {
        let way = self.way.load(Relaxed).min(WAYS.len() - 1);
        (way, if self.settings.structured == Structured::Auto { WAYS[way] } else { self.settings.structured })
    }

    /// The replies; or why there are none, and whether that is because of the form that was asked for.
    fn answer_to(
        &self,
        body: &Value,
        request: &Request,
        samples: usize,
        within: Duration,
    ) -> Result<Replies, (Failure, bool)> {
        let plain = |failure| (failure, false);
        let answer = self.send(self.completions.clone(), Some(body), within).map_err(plain)?;
        let status = answer.status();
        if !status.is_success() {
            let headers = answer.headers().clone();
            // A body that cannot be read is no reason to forget what the status says.
            let body = self.cleaned(bytes(answer, LONGEST, within).unwrap_or_default());
            let formed = request.schema.is_some() && failure::is_about_form(status, &body);
            let failure = failure::of_status(status, &headers, &body, self.known.load(Relaxed));
            let gone = request.adapter.is_some() && status == StatusCode::NOT_FOUND;
            return Err((Failure { then: if gone { Then::Again } else { failure.then }, ..failure }, formed));
        }
        let longest = LONGEST + PER_TOKEN * u64::from(request.sampling.max_tokens) * samples as u64;
        let body = self.cleaned(bytes(answer, longest, within).map_err(plain)?);
        let replies = reply::read(&body, request, samples).map_err(plain)?;
        self.known.store(true, Relaxed);
        Ok(replies)
    }

    /// What the server has said, without the key: before anything is read of it, or cut.
    fn cleaned(&self, body: Vec<u8>) -> Vec<u8> {
        let key = self.key.as_deref().filter(|key| !key.is_empty());
        let spelt = key.into_iter().flat_map(|key| [key.to_owned(), key.replace('/', "\\/")]);
        spelt.fold(body, |body, key| if holds(&body, &key) { without(&body, &key) } else { body })
    }
}

fn agent(within: Duration) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_idle_connections(IDLE)
        .max_idle_connections_per_host(IDLE)
        .max_idle_age(Duration::from_secs(30))
        .timeout_global(Some(within))
        .user_agent(concat!("obvert/", env!("CARGO_PKG_VERSION")));
    Agent::with_parts(config.build(), DefaultConnector::default(), Names::default())
}

/// A call that may take so long.
fn of_time<B: ureq::AsSendBody>(
    agent: &Agent,
    call: ureq::http::Request<B>,
    within: Duration,
) -> ureq::http::Request<B> {
    match agent.config().timeouts().global == Some(within) {
        true => call,
        false => agent.configure_request(call).timeout_global(Some(within)).build(),
    }
}

/// A reply, or why there is none, for each sample.
type Replies = Vec<Result<Reply, Failure>>;

/// What a call has taken is the first sample's.
fn failed(samples: usize, failure: &Failure) -> Replies {
    let of = |sample| Err(Failure { used: if sample == 0 { failure.used } else { [0; 2] }, ..failure.clone() });
    (0..samples).map(of).collect()
}

fn holds(body: &[u8], key: &str) -> bool {
    body.windows(key.len()).any(|part| part == key.as_bytes())
}

fn without(body: &[u8], key: &str) -> Vec<u8> {
    String::from_utf8_lossy(body).replace(key, "***").into_bytes()
}

fn bytes(answer: Response<ureq::Body>, longest: u64, within: Duration) -> Result<Vec<u8>, Failure> {
    let read = answer.into_body().into_with_config().limit(longest).read_to_vec();
    read.map_err(|error| failure::of_call(&error, within))
}

impl Model for Client {
    fn identity(&self) -> String {
        self.settings.identity()
    }

    fn lanes(&self) -> usize {
        usize::MAX
    }

    fn batch(&self) -> usize {
        self.settings.n
    }

    fn joins(&self, first: &Request, next: &Request) -> bool {
        request::samples_one(first, next)
    }

    fn retries(&self) -> u32 {
        5
    }

    fn call(&self, requests: &[Request], within: Option<Duration>) -> Vec<Result<Reply, Failure>> {
        let within = within.unwrap_or(PATIENCE);
        let answered = requests.first().map(|first| self.answers(first, requests.len(), within));
        answered
            .into_iter()
            .flat_map(|replies| replies.unwrap_or_else(|failure| failed(requests.len(), &failure)))
            .collect()
    }

    fn probe(&self) -> Vec<Finding> {
        probe::probe(self)
    }
}
