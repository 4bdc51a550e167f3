//! Traces for OpenTelemetry: what waited for models, and every call, as spans that a collector is sent as OTLP over HTTP.
//!
//! A trace is all that comes of one row of a source: a dialogue, turn by turn. Each item of a stage that waited for models is a span, the
//! calls that were made for it are spans below it, named and described by the conventions for generative models. Where spans go, and
//! under which name, is said by OpenTelemetry's own variables: `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME`, ...

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use obvert_engine::{Became, Called, Took, Tracer, Waited, Whose};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::SpanExporter as Exporter;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanProcessor};

/// Spans that wait for the collector; a run that makes more of them than it takes loses the newest, and says so at its end.
const QUEUE: usize = 1 << 16;
/// How long the end of a run waits for the collector.
const PATIENCE: Duration = Duration::from_secs(10);
/// The variables that say where spans go.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// A variable that says something.
fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether the variables say what sends the spans.
fn names_service(set: impl Fn(&str) -> Option<String>) -> bool {
    let attributes = set("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let mut named = attributes.split(',').filter_map(|attribute| attribute.split_once('='));
    let named = named.any(|(key, value)| key.trim() == "service.name" && !value.trim().is_empty());
    named || set("OTEL_SERVICE_NAME").is_some()
}

/// Sends a run's spans.
pub struct Traces {
    spans: BatchSpanProcessor,
    made: AtomicU64,
    sent: Arc<Sent>,
    scope: InstrumentationScope,
    name: String,
    /// When the run began, in nanoseconds: with its name that tells its ids from those of others.
    begun: OnceLock<u128>,
}

impl Traces {
    /// Begins to, if a variable says where.
    ///
    /// # Errors
    /// What the variables say makes no sense.
    pub fn begin(run: &str) -> Result<Option<Arc<Self>>, String> {
        let disabled = set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        match !disabled && ENDPOINTS.iter().any(|name| set(name).is_some()) {
            true => {
                let exporter = SpanExporter::builder().with_http().with_http_client(Client::default()).build();
                Ok(Some(Arc::new(Self::to(exporter.map_err(|e| e.to_string())?, run))))
            }
            false => Ok(None),
        }
    }

    fn to(exporter: impl Exporter + 'static, run: &str) -> Self {
        let config = BatchConfigBuilder::default().with_max_queue_size(QUEUE).build();
        let sent = Arc::<Sent>::default();
        let counted = Counted { exporter, sent: Arc::clone(&sent) };
        let mut spans = BatchSpanProcessor::builder(counted).with_batch_config(config).build();
        let resource = Resource::builder();
        let resource = if names_service(set) { resource } else { resource.with_service_name("obvert") };
        spans.set_resource(&resource.with_attribute(KeyValue::new("obvert.run", run.to_owned())).build());
        let scope = InstrumentationScope::builder("obvert").with_version(env!("CARGO_PKG_VERSION")).build();
        Traces { spans, made: AtomicU64::new(0), sent, scope, name: run.to_owned(), begun: OnceLock::new() }
    }

    /// Sends what is left.
    ///
    /// # Errors
    /// Not every span has reached the collector.
    pub fn end(&self) -> Result<(), String> {
        let ended = self.spans.shutdown_with_timeout(PATIENCE);
        let sent = self.sent.spans.load(Relaxed);
        let made = self.made.load(Relaxed);
        if made <= sent {
            return Ok(());
        }
        let failed = self.sent.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        let cause = failed.or(ended.err().map(|e| e.to_string())).unwrap_or_else(|| "it takes them too slowly".into());
        Err(format!("{} of {made} spans have not reached the collector: {cause}", made - sent))
    }

    fn send(&self, whose: &Whose<'_>, ids: [SpanId; 2], took: Took, what: What) {
        let [id, parent] = ids;
        let trace = TraceId::from_bytes(self.hash(&[&whose.root.to_string()]));
        let Whose { stage, record, root, lap, .. } = *whose;
        let mut attributes = vec![
            KeyValue::new("obvert.stage", stage.to_owned()),
            KeyValue::new("obvert.record", record.to_owned()),
            KeyValue::new("obvert.root", root as i64),
            KeyValue::new("obvert.lap", i64::from(lap)),
        ];
        attributes.extend(what.attributes);
        self.made.fetch_add(1, Relaxed);
        self.spans.on_end(SpanData {
            span_context: SpanContext::new(trace, id, TraceFlags::SAMPLED, false, TraceState::default()),
            parent_span_id: parent,
            parent_span_is_remote: false,
            span_kind: what.kind,
            name: what.name.into(),
            start_time: took.begun,
            end_time: took.ended,
            attributes,
            dropped_attributes_count: 0,
            events: Default::default(),
            links: Default::default(),
            status: what.error.map_or(Status::Unset, |error| Status::error(error.to_owned())),
            instrumentation_scope: self.scope.clone(),
        });
    }

    /// The id of an item's span: its calls, made elsewhere and before it ends, know it too.
    fn item_id(&self, whose: &Whose<'_>) -> SpanId {
        let Whose { stage, record, root, lap, since } = whose;
        let [root, lap, since] = [root.to_string(), lap.to_string(), nanoseconds(*since).to_string()];
        SpanId::from_bytes(self.hash(&[stage, record, &root, &lap, &since]))
    }

    fn hash<const N: usize>(&self, parts: &[&str]) -> [u8; N] {
        let mut hasher = blake3::Hasher::new();
        let begun = self.begun.get().copied().unwrap_or_default().to_string();
        [&*self.name, &begun].iter().chain(parts).for_each(|part| {
            hasher.update(part.as_bytes());
            hasher.update(&[0]);
        });
        let mut id = [0; N];
        hasher.finalize_xof().fill(&mut id);
        id
    }
}

/// Spans that have reached the collector, and why others have not.
#[derive(Debug, Default)]
struct Sent {
    spans: AtomicU64,
    failed: Mutex<Option<String>>,
}

/// Counts what is sent.
#[derive(Debug)]
struct Counted<E> {
    exporter: E,
    sent: Arc<Sent>,
}

impl<E: Exporter> Exporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len() as u64;
        let sent = self.exporter.export(batch).await;
        match &sent {
            Ok(()) => drop(self.sent.spans.fetch_add(count, Relaxed)),
            Err(error) => {
                *self.sent.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            }
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// What a span says beside whose it is.
struct What<'a> {
    name: String,
    kind: SpanKind,
    attributes: Vec<KeyValue>,
    error: Option<&'a str>,
}

fn nanoseconds(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()
}

impl Tracer for Traces {
    fn begin(&self, at: SystemTime) {
        // One sender has one run.
        let _ = self.begun.set(nanoseconds(at));
    }

    fn item(&self, item: &Waited<'_>) {
        let (attribute, error) = match item.became {
            Became::Records(made) => (Some(KeyValue::new("obvert.records", made as i64)), None),
            Became::SetAside(reason) => (None, Some(reason)),
            Became::Withdrawn => (Some(KeyValue::new("obvert.withdrawn", true)), None),
        };
        let (name, kind, attributes) =
            (item.whose.stage.to_owned(), SpanKind::Internal, attribute.into_iter().collect());
        let took = Took { begun: item.whose.since, ended: item.ended };
        let what = What { name, kind, attributes, error };
        self.send(&item.whose, [self.item_id(&item.whose), SpanId::INVALID], took, what);
    }

    fn call(&self, call: &Called<'_>) {
        let [prompt, reply] = match call.answer {
            Ok(reply) => [reply.prompt_tokens, reply.reply_tokens],
            Err(failure) => failure.used,
        };
        let attributes = vec![
            KeyValue::new("gen_ai.operation.name", "chat"),
            KeyValue::new("gen_ai.request.model", call.model.to_owned()),
            KeyValue::new("gen_ai.usage.input_tokens", i64::from(prompt)),
            KeyValue::new("gen_ai.usage.output_tokens", i64::from(reply)),
            KeyValue::new("obvert.sample", i64::from(call.sample)),
            KeyValue::new("obvert.attempt", i64::from(call.attempt)),
        ];
        let error = call.answer.err().map(|failure| failure.cause.as_str());
        let parent = self.item_id(&call.whose);
        let [sample, attempt] = [call.sample, call.attempt].map(|number| number.to_string());
        let begun = nanoseconds(call.took.begun).to_string();
        let id = SpanId::from_bytes(self.hash(&[&parent.to_string(), call.model, &sample, &attempt, &begun]));
        let what = What { name: format!("chat {}", call.model), kind: SpanKind::Client, attributes, error };
        self.send(&call.whose, [id, parent], call.took, what);
    }
}

/// Speaks HTTP for the exporter, on its thread.
#[derive(Debug)]
struct Client(ureq::Agent);

impl Default for Client {
    fn default() -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
        Client(config.build().new_agent())
    }
}

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let (parts, body) = self.0.run(Request::from_parts(parts, &body[..]))?.into_parts();
        let body = body.into_with_config().limit(1 << 20).read_to_vec()?;
        Ok(Response::from_parts(parts, body.into()))
    }
}

#[cfg(test)]
mod tests;
