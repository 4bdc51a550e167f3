//! A browser without a window, driven as WebDriver says: Debian's chromium and its driver.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;

pub struct Browser {
    driver: Child,
    agent: Agent,
    session: String,
}

impl Browser {
    /// The browser; a test that needs it says that it skips.
    pub fn find(test: &str) -> Option<Browser> {
        let started = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut driver) = started else {
            eprintln!("SKIPPED: {test}: no chromedriver");
            return None;
        };
        let mut said = BufReader::new(driver.stdout.take().unwrap()).lines();
        // "ChromeDriver was started successfully on port N."
        let line =
            said.find(|line| line.as_ref().is_ok_and(|line| line.contains("successfully on port"))).unwrap().unwrap();
        let port: u16 = line.trim_end_matches('.').rsplit(' ').next().unwrap().parse().unwrap();
        std::thread::spawn(move || said.for_each(drop));
        let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(60)));
        let mut browser = Browser { driver, agent: config.build().into(), session: format!("http://127.0.0.1:{port}") };
        let arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"];
        let wanted = json!({ "goog:chromeOptions": { "args": arguments }, "goog:loggingPrefs": { "browser": "ALL" } });
        let session = browser.ask("/session", json!({ "capabilities": { "alwaysMatch": wanted } }));
        browser.session += &format!("/session/{}", session["sessionId"].as_str().unwrap());
        Some(browser)
    }

    fn ask(&self, path: &str, body: Value) -> Value {
        let mut answer = self.agent.post(format!("{}{path}", self.session)).send_json(&body).unwrap();
        let value = answer.body_mut().read_json::<Value>().unwrap()["value"].take();
        assert!(answer.status().is_success(), "{path} {body}: {value}");
        value
    }

    /// Opens an address.
    pub fn open(&self, address: &str) {
        self.ask("/url", json!({ "url": address }));
    }

    /// Has the screen be so wide, bright or dark.
    pub fn show(&self, width: u32, scheme: &str) {
        let screen = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.command("Emulation.setDeviceMetricsOverride", screen);
        self.command(
            "Emulation.setEmulatedMedia",
            json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] }),
        );
    }

    fn command(&self, what: &str, how: Value) -> Value {
        self.ask("/goog/cdp/execute", json!({ "cmd": what, "params": how }))
    }

    /// The value of an expression in the page.
    pub fn value(&self, expression: &str) -> Value {
        self.ask("/execute/sync", json!({ "script": format!("return {expression}"), "args": [] }))
    }

    /// Waits until an expression is true.
    pub fn wait_for(&self, expression: &str) {
        for _ in 0..500 {
            if self.value(expression) == true {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("never {expression}: {} {:?}", self.value("document.body.innerText"), self.console());
    }

    /// Clicks on the first element that a selector finds.
    pub fn click(&self, selector: &str) {
        let found = self.ask("/element", json!({ "using": "css selector", "value": selector }));
        let id = found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
        self.ask(&format!("/element/{id}/click"), json!({}));
    }

    /// Types a text, wherever the focus is.
    pub fn type_in(&self, text: &str) {
        let key = |c: char| {
            [json!({ "type": "keyDown", "value": c.to_string() }), json!({ "type": "keyUp", "value": c.to_string() })]
        };
        let keys: Vec<Value> = text.chars().flat_map(key).collect();
        self.ask("/actions", json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": keys }] }));
    }

    /// What was said on the console since the last time.
    pub fn console(&self) -> Vec<String> {
        let said = self.ask("/se/log", json!({ "type": "browser" }));
        said.as_array().unwrap().iter().map(|entry| entry["message"].to_string()).collect()
    }

    /// A picture of the screen, base64 of a PNG.
    pub fn picture(&self) -> String {
        self.command("Page.captureScreenshot", json!({ "captureBeyondViewport": false }))["data"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends the browser; it may be gone already.
        let _ = self.agent.delete(&self.session).call();
        let _ = (self.driver.kill(), self.driver.wait());
    }
}
