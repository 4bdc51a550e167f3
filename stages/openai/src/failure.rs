//! What can go wrong with a call, and what is to be done about it.

use std::time::Duration;

use obvert_engine::model::{Failure, Then};
use serde_json::Value;
use ureq::http::{HeaderMap, StatusCode};

use crate::reply::excerpt;

/// An answer with a status that is not good. `known` tells whether the server has answered well before: what it refuses from the
/// beginning it refuses to all.
pub(crate) fn of_status(status: StatusCode, headers: &HeaderMap, body: &[u8], known: bool) -> Failure {
    let error: Value = serde_json::from_slice(body).unwrap_or_default();
    let said = error["error"]["message"].as_str().or_else(|| error["message"].as_str());
    let said = said.map_or_else(|| excerpt(body), ToString::to_string);
    let exhausted = error["error"]["code"] == "insufficient_quota";
    let after = retry_after(headers);
    let then = match status.as_u16() {
        401 | 404 if !known => Then::End,
        402 => Then::End,
        429 if exhausted => Then::End,
        429 => Then::Wait(after),
        503 if after.is_some() => Then::Wait(after),
        408 | 409 | 425 | 500..=599 => Then::Again,
        _ => Then::Leave,
    };
    let status =
        status.canonical_reason().map_or_else(|| status.to_string(), |reason| format!("{} {reason}", status.as_str()));
    Failure::new(format!("the server answers {status}: {said}"), then)
}

/// Whether a server refuses to be told the form of a reply: they say so with all sorts of statuses.
pub(crate) fn is_about_form(status: StatusCode, body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    status != StatusCode::TOO_MANY_REQUESTS
        && ["response_format", "json_schema", "json_object"].iter().any(|name| text.contains(name))
}

/// A call that no answer came of.
pub(crate) fn of_call(error: &ureq::Error, within: Duration) -> Failure {
    match error {
        _ if is_unreached(error) => Failure::new(format!("the server cannot be asked: {error}"), Then::Unreached),
        ureq::Error::Timeout(_) => Failure::new(format!("no reply within {} s", within.as_secs_f64()), Then::Again),
        ureq::Error::BodyExceedsLimit(limit) => {
            Failure::new(format!("the server's answer is longer than {limit} bytes"), Then::Again)
        }
        ureq::Error::BadUri(_) | ureq::Error::Tls(_) => Failure::new(error, Then::End),
        _ => Failure::new(format!("the server cannot be asked: {error}"), Then::Again),
    }
}

/// Whether nobody was there to ask.
fn is_unreached(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::ConnectionFailed | ureq::Error::HostNotFound => true,
        ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => true,
        ureq::Error::Io(error) => {
            use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable};
            let kinds = [ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable];
            // The standard library has no kind for names that nobody knows.
            kinds.contains(&error.kind()) || error.to_string().starts_with("failed to lookup address information")
        }
        _ => false,
    }
}

/// No pause is longer, whatever a server says.
const LONGEST: Duration = Duration::from_secs(3600);

/// How long the server wants to be left alone: seconds, or until a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("retry-after")?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok().map(|pause| pause.min(LONGEST));
    }
    let until = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(until.duration_since(jiff::Timestamp::now())).unwrap_or_default().min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_there_is_told_from_who_does_not_answer() {
        use std::io::{Error, ErrorKind};
        let then = |error: ureq::Error| of_call(&error, Duration::from_secs(1)).then;
        let unreached = [ErrorKind::ConnectionRefused, ErrorKind::HostUnreachable].map(Error::from);
        let unknown = Error::other("failed to lookup address information: Name or service not known");
        unreached.into_iter().chain([unknown]).for_each(|error| assert_eq!(then(error.into()), Then::Unreached));
        assert_eq!(then(ureq::Error::Timeout(ureq::Timeout::Connect)), Then::Unreached);
        assert_eq!(then(ureq::Error::Timeout(ureq::Timeout::Global)), Then::Again);
        assert_eq!(then(Error::from(ErrorKind::ConnectionReset).into()), Then::Again);
    }

    #[test]
    fn every_status_has_its_consequence() {
        let of = |status: u16, after: Option<&str>, body: &str, known: bool| {
            let mut headers = HeaderMap::new();
            after.into_iter().for_each(|after| drop(headers.insert("retry-after", after.parse().unwrap())));
            of_status(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes(), known)
        };
        let then = |status, after, known| of(status, after, "", known).then;
        assert_eq!(then(429, None, true), Then::Wait(None));
        assert_eq!(then(429, Some("2.5"), true), Then::Wait(Some(Duration::from_millis(2500))));
        // A date that has passed.
        assert_eq!(then(503, Some("Wed, 21 Oct 2015 07:28:00 GMT"), true), Then::Wait(Some(Duration::ZERO)));
        assert_eq!(then(429, Some("soon"), true), Then::Wait(None));
        assert_eq!(then(429, Some("1e9"), true), Then::Wait(Some(LONGEST)));
        assert_eq!([then(500, None, false), then(502, None, true), then(503, None, true)], [Then::Again; 3]);
        assert_eq!([then(401, None, false), then(404, None, false), then(402, None, true)], [Then::End; 3]);
        assert_eq!([then(401, None, true), then(403, None, false), then(302, None, true)], [Then::Leave; 3]);
        let told = of(401, None, r#"{"error": {"message": "no such key"}}"#, false);
        assert_eq!(told.cause, "the server answers 401 Unauthorized: no such key");
        let quota = of(429, None, r#"{"error": {"message": "pay", "code": "insufficient_quota"}}"#, true);
        assert_eq!(quota.then, Then::End);
    }
}
