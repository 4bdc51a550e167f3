//! Processes of a cluster, each a run of this test of its own.

// Helpers of tests are tests too, which clippy's configuration cannot see.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use obvert_engine::cluster::{Cluster, Error, Membership};

/// What a process is told: its part, and the hosts.
const PART: &str = "OBVERT_TEST_CLUSTER";

/// Addresses that nobody listens on.
fn hosts(count: usize) -> Vec<String> {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect()
}

fn membership(hosts: Vec<String>, index: usize, work: u8, deadline: u64) -> Membership {
    Membership { hosts, index, work: [work; 32], deadline: Duration::from_secs(deadline) }
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
    let said = |output: Output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let line = text.lines().find_map(|line| Some(line.split_once("SAID ")?.1.to_owned()));
        line.unwrap_or_else(|| panic!("{text}"))
    };
    children.into_iter().map(|child| said(child.wait_with_output().unwrap())).collect()
}

/// A part in a cluster; in an ordinary run of the tests there is none to play.
#[test]
fn a_process() {
    let Ok(told) = std::env::var(PART) else { return };
    let words: Vec<String> = told.split(' ').map(str::to_owned).collect();
    let (index, hosts) = (words[1].parse().unwrap(), words[2..].to_vec());
    let deadline = if words[0] == "hurry" { 1 } else { 20 };
    let work = u8::from(words[0] == "other");
    let said = match Cluster::join(membership(hosts, index, work, deadline)) {
        Ok(cluster) => rounds(cluster, &words[0]),
        Err(error) => error.to_string(),
    };
    println!("SAID {said}");
}

/// Many rounds, at different speeds, with unlike amounts.
fn rounds(mut cluster: Cluster, part: &str) -> String {
    for round in 0..40_usize {
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
        let bytes = |index: usize| vec![(round * 7 + index) as u8; round * 20_000 / 40 * (index + 1)];
        match cluster.gather(bytes(cluster.index())) {
            Ok(all) => assert_eq!(all, (0..cluster.count()).map(bytes).collect::<Vec<_>>(), "round {round}"),
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

#[test]
fn those_who_do_not_come_are_named() {
    let [first, second] = [0, 1].map(|index| Cluster::join(membership(hosts(3), index, 0, 1)).unwrap_err());
    let Error::Missing { seconds: 1, missing } = first else { panic!("{first}") };
    assert!(missing.contains("process 1 (") && missing.contains("process 2 ("), "{missing}");
    let Error::Missing { missing, .. } = second else { panic!("{second}") };
    assert!(missing.contains("process 0 ("), "{missing}");
}

#[test]
fn a_list_that_cannot_be_right_is_refused() {
    let error = Cluster::join(membership(hosts(2), 2, 0, 1)).unwrap_err();
    assert!(matches!(error, Error::Hosts(_)), "{error}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = Cluster::join(membership(vec![address], 0, 0, 1)).unwrap_err();
    assert!(matches!(error, Error::Listen { index: 0, .. }), "{error}");
}
