//! One server, asked over connections that are kept.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use obvert_api::{Reply, Request};
use obvert_engine::model::{Failure, Finding, Model, Then};
use serde_json::Value;
use ureq::Agent;
use ureq::http::{Response, StatusCode};
use ureq::unversioned::transport::DefaultConnector;

use crate::names::Names;
use crate::{Settings, Structured, failure, probe, reply, request};

/// Bytes of an answer, and of each token of it, at most: one that does not end must not fill the memory.
const LONGEST: u64 = 1 << 20;
const PER_TOKEN: u64 = 256;
/// How long a call may take where the pipeline does not say.
const PATIENCE: Duration = Duration::from_secs(600);
/// Connections that are kept while nobody uses them.
const IDLE: usize = 1024;

/// Ways to tell the form of a reply, the best one first.
const WAYS: [Structured; 3] = [Structured::JsonSchema, Structured::JsonObject, Structured::None];

/// A model of a server. Its key is in memory only, and taken out of whatever the server says.
pub struct Client {
    pub(crate) settings: Settings,
    key: Option<String>,
    agent: Agent,
    /// Whether the server has answered well.
    known: AtomicBool,
    /// Which of [`WAYS`] it has not refused.
    way: AtomicUsize,
}

impl Client {
    /// Reads the key; the server is not asked yet.
    ///
    /// # Errors
    /// The environment has no key.
    pub fn open(settings: Settings) -> Result<Self, String> {
        let key = settings.key.as_ref().map(|key| key.reveal()).transpose().map_err(|error| error.0)?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_connections(IDLE)
            .max_idle_connections_per_host(IDLE)
            .max_idle_age(Duration::from_secs(30))
            .user_agent(concat!("obvert/", env!("CARGO_PKG_VERSION")));
        Ok(Client {
            settings,
            key,
            agent: Agent::with_parts(config.build(), DefaultConnector::default(), Names::default()),
            known: AtomicBool::new(false),
            way: AtomicUsize::new(0),
        })
    }

    /// What the server says to a path, with a body or without; the status and the answer's bytes.
    pub(crate) fn ask(
        &self,
        path: &str,
        body: Option<&Value>,
        within: Duration,
    ) -> Result<(StatusCode, Vec<u8>), Failure> {
        let answer = self.send(path, body, within)?;
        let (status, body) = (answer.status(), bytes(answer, LONGEST, within)?);
        Ok((status, body))
    }

    fn send(&self, path: &str, body: Option<&Value>, within: Duration) -> Result<Response<ureq::Body>, Failure> {
        let url = format!("{}/{path}", self.settings.base_url);
        let bearer = self.key.as_ref().map(|key| format!("Bearer {key}"));
        let sent = match body {
            None => {
                let call = self.agent.get(url).config().timeout_global(Some(within)).build();
                bearer.iter().fold(call, |call, bearer| call.header("authorization", bearer)).call()
            }
            Some(body) => {
                let call = self.agent.post(url).config().timeout_global(Some(within)).build();
                let call = call.header("content-type", "application/json");
                bearer.iter().fold(call, |call, bearer| call.header("authorization", bearer)).send(body.to_string())
            }
        };
        sent.map_err(|error| failure::of_call(&error, within))
    }

    pub(crate) fn answer(&self, request: &Request, within: Duration) -> Result<Reply, Failure> {
        if let Some(adapter) = &request.adapter {
            return Err(Failure::new(format!("the server is not handed adapters, such as {adapter}"), Then::Leave));
        }
        loop {
            let (way, structured) = self.structured();
            let answered = self.answer_in(structured, request, within);
            let refused = answered.as_ref().is_err_and(|failure| failure::is_about_form(&failure.cause));
            // Another call may have found that out already.
            if !refused
                || request.schema.is_none()
                || self.settings.structured != Structured::Auto
                || structured == Structured::None
            {
                return answered;
            }
            let _ = self.way.compare_exchange(way, way + 1, Relaxed, Relaxed);
        }
    }

    /// How the server is told the form of a reply, as far as is known by now.
    pub(crate) fn structured(&self) -> (usize, Structured) {
        let way = self.way.load(Relaxed).min(WAYS.len() - 1);
        (way, if self.settings.structured == Structured::Auto { WAYS[way] } else { self.settings.structured })
    }

    fn answer_in(&self, structured: Structured, request: &Request, within: Duration) -> Result<Reply, Failure> {
        let body = Value::Object(request::body(&self.settings, structured, request));
        let answer = self.send("chat/completions", Some(&body), within)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let longest = LONGEST + PER_TOKEN * u64::from(request.sampling.max_tokens);
        let body = bytes(answer, longest, within)?;
        if !status.is_success() {
            return Err(failure::of_status(status, &headers, &body, self.known.load(Relaxed)));
        }
        let reply = reply::read(&body, request)?;
        self.known.store(true, Relaxed);
        Ok(reply)
    }

    /// A failure that does not show the key, whatever the server has said.
    pub(crate) fn discreet(&self, failure: Failure) -> Failure {
        let key = self.key.as_deref().filter(|key| !key.is_empty());
        let cause = key.map(|key| failure.cause.replace(key, "***")).unwrap_or(failure.cause);
        Failure { cause, ..failure }
    }
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

    fn retries(&self) -> u32 {
        5
    }

    fn call(&self, requests: &[Request], within: Option<Duration>) -> Vec<Result<Reply, Failure>> {
        let within = within.unwrap_or(PATIENCE);
        let answer = |request| self.answer(request, within).map_err(|failure| self.discreet(failure));
        requests.iter().map(answer).collect()
    }

    fn probe(&self) -> Vec<Finding> {
        probe::probe(self)
    }
}
