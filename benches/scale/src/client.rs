//! Calls to a server of this machine that takes as long for each as it is told: how many are under way, and what it costs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context;
use obvert_api::Request;
use obvert_api::record::Message;
use obvert_engine::Registry;
use obvert_engine::model::Model;
use obvert_openai::{Client, Settings};
use obvert_stages::Findings;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::asked::asked;

/// Arguments of `client`.
#[derive(clap::Args)]
pub struct Arguments {
    #[arg(long, default_value_t = 20_000)]
    items: u64,
    #[arg(long, default_value_t = 50)]
    call_ms: u64,
    #[arg(long, default_value_t = 64)]
    max_in_flight: usize,
    /// Be the server instead.
    #[arg(long, hide = true)]
    serve: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Value> {
    if arguments.serve {
        return serve(Duration::from_millis(arguments.call_ms));
    }
    let (bare, alone, run) = (measured(arguments, bare)?, measured(arguments, alone)?, measured(arguments, whole)?);
    Ok(json!({
        "part": "client", "items": arguments.items, "call_ms": arguments.call_ms, "max_in_flight": arguments.max_in_flight,
        "bare_sockets": bare, "client": alone, "run": run,
    }))
}

/// What calls to a server cost, whose own processor time is not counted, and how many were under way.
fn measured(arguments: &Arguments, call: fn(&Arguments, &str) -> anyhow::Result<()>) -> anyhow::Result<Value> {
    let mut server = Command::new(std::env::current_exe()?);
    server.args(["client", "--serve", "--call-ms", &arguments.call_ms.to_string()]);
    let mut server = server.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut said = BufReader::new(server.stdout.take().context("no output")?).lines();
    let url = said.next().context("the server says nothing")??;
    let (begin, before) = (Instant::now(), processor());
    call(arguments, &url)?;
    let (used, elapsed) = (processor() - before, begin.elapsed().as_secs_f64());
    drop(server.stdin.take());
    let found: Value = serde_json::from_str(&said.next().context("the server has counted nothing")??)?;
    server.wait()?;
    let share = used.as_secs_f64() / elapsed;
    Ok(json!({ "seconds": elapsed, "in_flight": found["in_flight"], "share_of_a_core": share }))
}

/// Nothing but bytes over sockets: what the system takes for as many calls.
fn bare(arguments: &Arguments, url: &str) -> anyhow::Result<()> {
    let address = url.trim_start_matches("http://").trim_end_matches("/v1");
    let body = r#"{"model":"m","messages":[{"role":"user","content":"7?"}],"temperature":0.0,"max_tokens":1024}"#;
    let request = format!("POST /v1/chat/completions HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    each(
        arguments,
        || TcpStream::connect(address),
        |stream| {
            stream.write_all(request.as_bytes())?;
            let mut answer = [0; 4096];
            let mut length = 0;
            while !answer[..length].ends_with(b"}}") {
                length += stream.read(&mut answer[length..])?;
            }
            Ok(())
        },
    )
}

/// Makes all calls, so many at a time.
fn each<S>(
    arguments: &Arguments,
    start: impl Fn() -> std::io::Result<S> + Sync,
    call: impl Fn(&mut S) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<()> {
    let left = AtomicU64::new(arguments.items);
    let take = || left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
    let lane = || {
        let mut state = start()?;
        while take() {
            call(&mut state)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..arguments.max_in_flight).map(|_| scope.spawn(lane)).collect();
        lanes.into_iter().try_for_each(|lane| lane.join().map_err(|_| anyhow::anyhow!("a lane panicked"))?)
    })
}

/// The client by itself.
fn alone(arguments: &Arguments, url: &str) -> anyhow::Result<()> {
    let settings = Settings::read(&json!({ "base_url": url, "model": "m" })).map_err(anyhow::Error::msg)?;
    let client = Client::open(settings).map_err(anyhow::Error::msg)?;
    let request = Request::new("m", vec![Message::new("user", "7?")]);
    each(
        arguments,
        || Ok(()),
        |()| {
            let replies = client.call(std::slice::from_ref(&request), None);
            anyhow::ensure!(replies.iter().all(Result::is_ok), "{replies:?}");
            Ok(())
        },
    )
}

/// A run: its dataflow, its queue, its memo.
fn whole(arguments: &Arguments, url: &str) -> anyhow::Result<()> {
    let most = arguments.max_in_flight;
    let model = format!("kind = \"openai\"\nbase_url = \"{url}\"\nmodel = \"m\"\nmax_in_flight = {most}");
    let mut registry = Registry::new();
    obvert_stages::register(&mut registry, &Findings::default());
    obvert_openai::register(&mut registry);
    asked(arguments.items, &model, &mut registry).map(drop)
}

/// Processor time of this process.
fn processor() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Time that calls have taken, summed, and when the first began and the last ended.
#[derive(Default)]
struct Busy {
    sum: Duration,
    span: Option<(Instant, Instant)>,
}

/// Answers until the input ends; how many calls were under way on average.
fn serve(call: Duration) -> anyhow::Result<Value> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("http://{}/v1", listener.local_addr()?);
    let busy = Arc::<Mutex<Busy>>::default();
    let shared = Arc::clone(&busy);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let busy = Arc::clone(&shared);
            std::thread::spawn(move || drop(answer(&stream, call, &busy)));
        }
    });
    std::io::stdin().lines().for_each(drop);
    let busy = busy.lock().map_err(|_| anyhow::anyhow!("a connection failed"))?;
    let (first, last) = busy.span.context("nobody has called")?;
    Ok(json!({ "in_flight": busy.sum.as_secs_f64() / (last - first).as_secs_f64() }))
}

/// Answers the calls of a connection.
fn answer(mut stream: &TcpStream, call: Duration, busy: &Mutex<Busy>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let body = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"yes"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":1}}"#;
    let reply =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut from = BufReader::new(stream);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        while line.trim_end() != "" || length == 0 {
            line.clear();
            if from.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let lower = line.to_ascii_lowercase();
            length = lower.strip_prefix("content-length:").and_then(|n| n.trim().parse().ok()).unwrap_or(length);
        }
        let begin = Instant::now();
        from.read_exact(&mut vec![0; length])?;
        std::thread::sleep(call);
        stream.write_all(reply.as_bytes())?;
        let Ok(mut busy) = busy.lock() else { return Ok(()) };
        let end = Instant::now();
        busy.sum += end - begin;
        busy.span = Some(busy.span.map_or((begin, end), |(first, last)| (first.min(begin), last.max(end))));
    }
}
