//! Processes of a cluster, each a run of this test of its own.

// Helpers of tests are tests too, which clippy's configuration cannot see.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use obvert_engine::cluster::{Cluster, Error, Seat};

/// What a process is told: its part, and the hosts.
const PART: &str = "OBVERT_TEST_CLUSTER";

/// Addresses that nobody listens on.
fn hosts(count: usize) -> Vec<String> {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect()
}

fn join(hosts: Vec<String>, index: usize, work: u8, deadline: u64) -> Result<Cluster, Error> {
    Seat::take(hosts, index)?.join([work; 32], Duration::from_secs(deadline))
}

/// Starts a process that plays a part.
fn start(part: &str, index: usize, hosts: &[String]) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_process", "--nocapture"]);
    command.env(PART, format!("{part} {index} {}", hosts.join(" "))).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// What processes that play these parts say.
fn play(parts: &[&str]) -> Vec<String> {
    let hosts = hosts(parts.len());
    let children: Vec<_> = parts.iter().enumerate().map(|(index, part)| start(part, index, &hosts)).collect();
    children.into_iter().map(said).collect()
}

fn said(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find_map(|line| Some(line.split_once("SAID ")?.1.to_owned()));
    line.unwrap_or_else(|| panic!("{text}"))
}

/// A part in a cluster; in an ordinary run of the tests there is none to play.
#[test]
fn a_process() {
    let Ok(told) = std::env::var(PART) else { return };
    let words: Vec<String> = told.split(' ').map(str::to_owned).collect();
    let (index, hosts) = (words[1].parse().unwrap(), words[2..].to_vec());
    let work = u8::from(words[0] == "other");
    let said = match join(hosts, index, work, 20) {
        Ok(cluster) => rounds(cluster, &words[0]),
        Err(error) => error.to_string(),
    };
    println!("SAID {said}");
}

/// Many rounds, at different speeds, with unlike amounts.
fn rounds(mut cluster: Cluster, part: &str) -> String {
    for round in 0..if part == "short" { 39 } else { 40_usize } {
        if part == "quit" && round == 20 {
            std::process::exit(print("quit"));
        }
        if part == "fail" && round == 20 {
            drop(cluster);
            return "failed".into();
        }
        if part == "slow" {
            std::thread::sleep(Duration::from_millis(3));
        }
        let bytes = |from: usize, to: usize| vec![(round * 7 + from * 3 + to) as u8; round * 500 * (from + 1) + to];
        let (own, count) = (cluster.index(), cluster.count());
        match cluster.exchange((0..count).map(|to| bytes(own, to)).collect()) {
            Ok(all) => assert_eq!(all, (0..count).map(|from| bytes(from, own)).collect::<Vec<_>>(), "round {round}"),
            Err(error) => return error.to_string(),
        }
    }
    cluster.leave().map_or_else(|error| error.to_string(), |()| "done".into())
}

fn print(said: &str) -> i32 {
    println!("SAID {said}");
    0
}

#[test]
fn all_give_and_all_get() {
    assert_eq!(play(&["plain"]), ["done"]);
    assert_eq!(play(&["plain", "slow"]), ["done"; 2]);
    assert_eq!(play(&["slow", "plain", "plain"]), ["done"; 3]);
}

#[test]
fn a_lost_process_ends_the_others_with_its_name() {
    for part in ["quit", "fail"] {
        let begin = Instant::now();
        let said = play(&["plain", part, "slow"]);
        for other in [&said[0], &said[2]] {
            assert!(other.starts_with("process 1 (127.0.0.1:") && other.ends_with("is lost"), "{said:?}");
        }
        assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    }
}

#[test]
fn other_work_is_refused() {
    let said = play(&["plain", "other"]);
    assert!(said[0].contains("process 1 (") && said[1].contains("process 0 ("), "{said:?}");
    assert!(said.iter().all(|said| said.contains("does other work")), "{said:?}");
}

/// A process that came and went is not waited for, whoever else is still to come.
#[test]
fn one_that_is_lost_before_all_have_come_is_named() {
    let hosts = hosts(3);
    let first = TcpListener::bind(&hosts[0]).unwrap();
    let second = std::thread::spawn(move || join(hosts, 1, 0, 20).unwrap_err().to_string());
    let (mut stream, _) = first.accept().unwrap();
    // Its greeting: the protocol, its number, its work, when it began. The answer is that of number 0, with the same work.
    let mut greeting = [0; 56];
    stream.read_exact(&mut greeting).unwrap();
    greeting[8..16].copy_from_slice(&0_u64.to_le_bytes());
    stream.write_all(&greeting).unwrap();
    drop(stream);
    let said = second.join().unwrap();
    assert!(said.starts_with("process 0 (127.0.0.1:") && said.ends_with("is lost"), "{said}");
}

#[test]
fn one_that_gives_less_often_than_the_others_is_an_error() {
    let said = play(&["plain", "short"]);
    // Whether a connection that ends is heard of before the missing part, or not at all, depends on who is faster.
    assert!(said[0].contains("left before") || said[0].starts_with("process 1 ("), "{said:?}");
    assert!(said[1] == "done" || said[1].ends_with("is lost"), "{said:?}");
}

/// Who calls without knowing how is not answered, and does not keep the others from meeting.
#[test]
fn strangers_are_not_answered() {
    let hosts = hosts(2);
    let first = start("plain", 0, &hosts);
    let mut stranger = loop {
        match TcpStream::connect(&hosts[0]) {
            Ok(stream) => break stream,
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    stranger.write_all(&[b'x'; 56]).unwrap();
    let children = [first, start("plain", 1, &hosts)];
    assert!(children.map(said).iter().all(|said| said == "done"));
    assert_eq!(stranger.read(&mut [0; 56]).unwrap_or_default(), 0);
}

#[test]
fn those_who_do_not_come_are_named() {
    let [first, second] = [0, 1].map(|index| join(hosts(3), index, 0, 1).unwrap_err());
    let Error::Missing { seconds: 1, missing } = first else { panic!("{first}") };
    assert!(missing.contains("process 1 (") && missing.contains("process 2 ("), "{missing}");
    let Error::Missing { missing, .. } = second else { panic!("{second}") };
    assert!(missing.contains("process 0 ("), "{missing}");
}

#[test]
fn a_list_that_cannot_be_right_is_refused() {
    let twice = vec!["127.0.0.1:1".to_owned(); 2];
    for (hosts, index) in [(hosts(2), 2), (Vec::new(), 0), (twice, 0)] {
        let error = join(hosts, index, 0, 1).unwrap_err();
        assert!(matches!(error, Error::Hosts(_)), "{error}");
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = join(vec![address], 0, 0, 1).unwrap_err();
    assert!(matches!(error, Error::Listen { index: 0, .. }), "{error}");
}
