//! Who may look, and who may tell the run something.

use std::time::Duration;

use obvert_live::page::{Site, listen};
use ureq::http::Response;
use ureq::{Agent, Body};

use crate::site::{self, run};

fn agent() -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(Duration::from_secs(20)));
    config.build().into()
}

fn get(address: &str, headers: &[(&str, &str)]) -> Response<Body> {
    headers.iter().fold(agent().get(address), |request, (name, value)| request.header(*name, *value)).call().unwrap()
}

#[test]
fn a_page_without_a_token_is_for_this_machine_alone() {
    let out = run(1);
    let address = site::page(out.path(), None);
    let page = get(&address, &[]);
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(page.status() == 200 && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(get(&format!("{address}/api/board"), &[("host", "localhost:1")]).status(), 200);
    // A browser that was lured here by a name that leads to this machine.
    assert_eq!(get(&format!("{address}/api/board"), &[("host", "evil.example")]).status(), 403);
    let site = Site { out: out.path().to_owned(), token: None };
    let refused = listen(([0, 0, 0, 0], 0).into(), &site).unwrap_err();
    assert!(refused.to_string().contains("wants a token"), "{refused}");
    // Another site can send a form, and no header of its own.
    let steer = format!("{address}/api/steer/pause");
    assert_eq!(agent().post(&steer).send_empty().unwrap().status(), 403);
    assert!(!out.path().join("state/asked").exists());
    assert_eq!(agent().post(&steer).header("x-obvert", "1").send_empty().unwrap().status(), 204);
    assert!(out.path().join("state/asked/pause").exists());
    let unknown = agent().post(format!("{address}/api/steer/stop")).header("x-obvert", "1").send_empty().unwrap();
    assert_eq!(unknown.status(), 404);
}

#[test]
fn a_page_with_a_token_is_for_those_who_know_it() {
    let out = run(1);
    let token = "0123456789abcdef";
    let address = site::page(out.path(), Some(token));
    let board = format!("{address}/api/board");
    assert_eq!(get(&board, &[]).status(), 401);
    assert_eq!(get(&board, &[("authorization", "Bearer 0123456789abcdeg")]).status(), 401);
    assert_eq!(get(&board, &[("authorization", &format!("Bearer {token}")), ("host", "tea.example")]).status(), 200);
    // The address with the token leaves a cookie, and leads to one without it.
    let first = get(&format!("{address}/?token={token}"), &[]);
    assert_eq!((first.status().as_u16(), first.headers()["location"].to_str().unwrap()), (303, "/"));
    let cookie = first.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    assert_eq!(get(&board, &[("cookie", cookie.split(';').next().unwrap())]).status(), 200);
    assert_eq!(get(&format!("{address}/?token=wrong"), &[]).status(), 401);
}

#[test]
fn records_and_figures_are_told() {
    let out = run(50);
    let address = site::page(out.path(), None);
    let json = |path: &str| get(&format!("{address}{path}"), &[]).body_mut().read_json::<serde_json::Value>().unwrap();
    let found = json("/api/records/pair.Pair?text=NUMBER%2049");
    assert_eq!((&found["all"], &found["records"][0]["record"]["dialogue"]), (&50.into(), &"d49".into()));
    assert_eq!(json("/api/curves/train")["loss"]["steps"].as_array().unwrap().len(), 60);
    for missing in ["/api/records/..%2F..%2Fetc.Pair", "/api/records/pair.Judged", "/api/curves/none", "/nothing"] {
        assert_eq!(get(&format!("{address}{missing}"), &[]).status(), 404, "{missing}");
    }
    let metrics = get(&format!("{address}/metrics"), &[]).body_mut().read_to_string().unwrap();
    assert!(metrics.contains("obvert_stage_waiting{stage=\"respond\"} 12.0"), "{metrics}");
}
