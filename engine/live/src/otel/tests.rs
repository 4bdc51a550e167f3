use std::io::{Read, Write};
use std::net::TcpListener;

use obvert_api::Reply;
use opentelemetry_otlp::WithExportConfig;

use super::*;

/// Keeps what it is to send.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl Exporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

const SINCE: SystemTime = UNIX_EPOCH;
const WHOSE: Whose<'static> = Whose { stage: "judge", record: "0123456789abcdef", root: 256, lap: 1, since: SINCE };

fn took() -> Took {
    let begun = UNIX_EPOCH + Duration::from_secs(1);
    Took { begun, ended: begun + Duration::from_secs(2) }
}

/// An item with one call.
fn tell(traces: &Traces) {
    let reply = Reply { text: "yes".into(), prompt_tokens: 7, reply_tokens: 3, finished: true };
    let called = Called { whose: WHOSE, model: "m", sample: 0, attempt: 1, took: took(), answer: Ok(&reply) };
    traces.call(&called);
    traces.item(&Waited { whose: WHOSE, ended: SINCE + Duration::from_secs(2), became: Became::Records(1) });
}

#[test]
fn a_call_is_below_its_item_and_a_row_is_a_trace() {
    let kept = Kept::default();
    let traces = Traces::to(kept.clone(), "run");
    tell(&traces);
    let other = Whose { root: 512, ..WHOSE };
    traces.item(&Waited { whose: other, ended: SINCE, became: Became::SetAside("unreadable") });
    traces.end().unwrap();
    let spans = kept.0.lock().unwrap();
    let [call, item, other] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((call.name.as_ref(), item.name.as_ref()), ("chat m", "judge"));
    assert_eq!(call.parent_span_id, item.span_context.span_id());
    assert_eq!(call.span_context.trace_id(), item.span_context.trace_id());
    assert_eq!(item.parent_span_id, SpanId::INVALID);
    assert_eq!(item.end_time.duration_since(item.start_time).unwrap(), Duration::from_secs(2));
    let tokens = KeyValue::new("gen_ai.usage.output_tokens", 3_i64);
    assert!(call.attributes.contains(&tokens), "{:?}", call.attributes);
    assert!(item.attributes.contains(&KeyValue::new("obvert.record", "0123456789abcdef")));
    assert_ne!(other.span_context.trace_id(), item.span_context.trace_id());
    assert_eq!(other.status, Status::error("unreadable"));
}

#[test]
fn processes_of_a_run_agree_on_ids_and_an_item_that_comes_again_has_its_own() {
    let ids = |begun: u64, since: SystemTime| {
        let kept = Kept::default();
        let traces = Traces::to(kept.clone(), "run");
        traces.begin(UNIX_EPOCH + Duration::from_secs(begun));
        let whose = Whose { since, ..WHOSE };
        traces.item(&Waited { whose, ended: since, became: Became::Withdrawn });
        traces.end().unwrap();
        let span = kept.0.lock().unwrap().remove(0);
        assert_eq!(span.status, Status::Unset);
        assert!(span.attributes.contains(&KeyValue::new("obvert.withdrawn", true)));
        (span.span_context.trace_id(), span.span_context.span_id())
    };
    let (first, later) = (ids(1, SINCE), SINCE + Duration::from_millis(1));
    assert_eq!(first, ids(1, SINCE));
    assert!(first.0 == ids(1, later).0 && first.1 != ids(1, later).1);
    assert!(first.0 != ids(2, SINCE).0 && first.1 != ids(2, SINCE).1);
}

/// A collector's request: its head, and its body.
fn request(listener: &TcpListener) -> (String, Vec<u8>) {
    let (mut stream, _) = listener.accept().unwrap();
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer).unwrap();
        read.extend_from_slice(&buffer[..count]);
        let Some(at) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(read[..at].to_vec()).unwrap().to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if read.len() >= at + 4 + length.parse::<usize>().unwrap() {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
            return (head, read[at + 4..].to_vec());
        }
    }
}

#[test]
fn spans_reach_a_collector() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let collector = std::thread::spawn(move || request(&listener));
    let exporter = SpanExporter::builder().with_http().with_http_client(Client::default()).with_endpoint(endpoint);
    let traces = Traces::to(exporter.build().unwrap(), "run");
    tell(&traces);
    traces.end().unwrap();
    let (head, body) = collector.join().unwrap();
    assert!(head.starts_with("post /v1/traces ") && head.contains("application/x-protobuf"), "{head}");
    let holds = |text: &str| body.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    assert!(holds("chat m") && holds("gen_ai.request.model") && holds("obvert.run"));
}

#[test]
fn a_collector_that_is_not_there_is_said() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let exporter = SpanExporter::builder().with_http().with_http_client(Client::default());
    let exporter = exporter.with_endpoint(format!("http://{gone}/v1/traces")).build().unwrap();
    let traces = Traces::to(exporter, "run");
    tell(&traces);
    let said = traces.end().unwrap_err();
    assert!(
        said.starts_with("2 of 2 spans have not reached the collector: ") && said.contains("network error"),
        "{said}"
    );
}

#[test]
fn a_service_is_named_by_what_says_so() {
    let named = |name: &str, attributes: &str| {
        names_service(|variable| {
            let value = if variable == "OTEL_SERVICE_NAME" { name } else { attributes };
            Some(value.to_owned()).filter(|value| !value.is_empty())
        })
    };
    assert!(named("tea", "") && named("", "service.name=tea") && named("", "a=b, service.name = tea"));
    assert!(!named("", "") && !named("", "peer.service.name=tea") && !named("", "service.name=,a=b"));
}
