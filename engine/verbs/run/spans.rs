//! A run's spans for OpenTelemetry, where its variables say that they are wanted.

use std::sync::Arc;

use obvert_engine::Tracer;
#[cfg(feature = "otel")]
use obvert_live::otel::Traces;

/// Whoever is sent them; nobody where no variable says so.
#[derive(Default)]
pub(super) struct Spans {
    #[cfg(feature = "otel")]
    traces: Option<Arc<Traces>>,
}

#[cfg(feature = "otel")]
impl Spans {
    /// Begins to send those of a run of this name.
    pub(super) fn begin(run: &str) -> anyhow::Result<Self> {
        let traces = Traces::begin(run).map_err(|cause| anyhow::anyhow!("OpenTelemetry: {cause}"))?;
        Ok(Spans { traces })
    }

    pub(super) fn tracer(&self) -> Option<Arc<dyn Tracer>> {
        self.traces.clone().map(|traces| traces as Arc<dyn Tracer>)
    }

    /// Sends what is left, and says what has not arrived.
    pub(super) fn end(&self) {
        if let Some(Err(cause)) = self.traces.as_ref().map(|traces| traces.end()) {
            tracing::warn!("OpenTelemetry: {cause}");
        }
    }
}

#[cfg(not(feature = "otel"))]
impl Spans {
    /// Says that this program has none, where they are wanted.
    pub(super) fn begin(_: &str) -> anyhow::Result<Self> {
        let set = |name: &&&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        if let Some(name) = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"].iter().find(set) {
            tracing::warn!("{name} is set, but this program was built without the feature `otel`");
        }
        Ok(Spans::default())
    }

    pub(super) fn tracer(&self) -> Option<Arc<dyn Tracer>> {
        None
    }

    pub(super) fn end(&self) {}
}
