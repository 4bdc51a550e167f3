//! Who may look, and who may tell the run something.
//!
//! Without a token the page is for this machine alone: a browser that was lured here under another name is turned away. What changes
//! something must come from the page itself, which says so in a header that no other site can send.

use axum::extract::Request;
use axum::http::header::{
    AUTHORIZATION, CONTENT_SECURITY_POLICY, COOKIE, HOST, LOCATION, REFERRER_POLICY, SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::State;

/// The cookie that holds the token.
const TOKEN: &str = "obvert-token";
/// The header of requests that change something.
const PAGE: &str = "x-obvert";

/// Lets a request pass, or says why not.
pub(super) async fn guard(state: State, request: Request, next: Next) -> Response {
    let (headers, uri) = (request.headers(), request.uri());
    match &state.site.token {
        Some(token) if asked_with(uri).is_some_and(|given| same(given, token)) => return remembered(uri, token),
        Some(token) if !knows(headers, token) => {
            return refuse(StatusCode::UNAUTHORIZED, "open the address with its token");
        }
        None if !is_local(headers) => return refuse(StatusCode::FORBIDDEN, "this page is for this machine alone"),
        _ => {}
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) && !headers.contains_key(PAGE) {
        return refuse(StatusCode::FORBIDDEN, "only the page itself may ask for that");
    }
    sealed(next.run(request).await)
}

/// The page takes nothing from elsewhere, and stands in no other site's frame, where people might click on what they do not see.
fn sealed(mut answer: Response) -> Response {
    for (name, value) in [
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
        ),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

fn refuse(status: StatusCode, why: &'static str) -> Response {
    (status, why).into_response()
}

/// The token in the address.
fn asked_with(uri: &Uri) -> Option<&str> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix("token="))
}

/// Keeps the token in a cookie, and out of the address.
fn remembered(uri: &Uri, token: &str) -> Response {
    let cookie = format!("{TOKEN}={token}; HttpOnly; SameSite=Strict; Path=/");
    (StatusCode::SEE_OTHER, [(SET_COOKIE, cookie), (LOCATION, uri.path().to_owned())]).into_response()
}

fn knows(headers: &HeaderMap, token: &str) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let cookies = text(COOKIE).split(';').filter_map(|cookie| cookie.trim().strip_prefix(TOKEN)?.strip_prefix('='));
    cookies.chain(text(AUTHORIZATION).strip_prefix("Bearer ")).any(|given| same(given, token))
}

/// In a time that says nothing of where they differ.
fn same(given: &str, token: &str) -> bool {
    let differ = given.bytes().zip(token.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b));
    given.len() == token.len() && differ == 0
}

fn is_local(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        .map_or(host, |(name, _)| name);
    ["localhost", "127.0.0.1", "[::1]"].contains(&name)
}
