use std::time::Duration;

use obvert_engine::Observer;

use super::*;

const LONG: Duration = Duration::from_secs(60);

fn log_of(stage: &str) -> Name {
    Name { stage: stage.into(), record: "Type".into(), process: 0 }
}

fn texts(found: &Found) -> Vec<String> {
    found.records.iter().map(|(_, _, record)| String::from_utf8(record.clone()).unwrap()).collect()
}

#[test]
fn records_are_found_behind_the_run_the_newest_first() {
    let out = tempfile::tempdir().unwrap();
    let log = Log::begin(out.path(), &log_of("judge")).unwrap();
    let mut reader = Reader::new(out.path(), &log_of("judge"));
    for (text, copies) in [("Milk tea", 1), ("green TEA", 1), ("coffee", 2), ("black tea", 1), ("green TEA", -1)] {
        log.see(text.as_bytes(), copies);
    }
    reader.follow().unwrap();
    assert_eq!(reader.len(), 0, "nothing has been flushed");
    log.flush();
    reader.follow().unwrap();
    assert_eq!(reader.len(), 3);
    let all = |text: &str| texts(&reader.search(text, None, 9, LONG).unwrap());
    assert_eq!(all(""), ["black tea", "coffee", "Milk tea"]);
    // What was withdrawn is not there, whatever it held.
    assert_eq!(all("tea"), ["black tea", "Milk tea"]);
    assert_eq!(all("(tea"), [""; 0]);
    // One at a time, by the number before which to go on.
    let first = reader.search("tea", None, 1, LONG).unwrap();
    assert_eq!((texts(&first), first.before), (vec!["black tea".into()], Some(1)));
    let second = reader.search("tea", first.before, 1, LONG).unwrap();
    assert_eq!((texts(&second), second.before), (vec!["Milk tea".into()], None));
    assert_eq!(reader.record(second.records[0].0).unwrap().unwrap(), b"Milk tea");
    // What comes later, and what comes again.
    log.see(b"green TEA", 1);
    log.flush();
    reader.follow().unwrap();
    assert_eq!(texts(&reader.search("tea", None, 9, LONG).unwrap()), ["green TEA", "black tea", "Milk tea"]);
}

#[test]
fn a_search_that_takes_too_long_says_where_to_go_on() {
    let out = tempfile::tempdir().unwrap();
    let log = Log::begin(out.path(), &log_of("pair")).unwrap();
    log.see(b"only", 1);
    log.flush();
    let mut reader = Reader::new(out.path(), &log_of("pair"));
    reader.follow().unwrap();
    assert_eq!(reader.search("only", None, 1, Duration::ZERO).unwrap(), Found { records: Vec::new(), before: Some(1) });
}

#[test]
fn the_oldest_files_go_and_a_new_run_begins_anew() {
    let out = tempfile::tempdir().unwrap();
    let log = Log::begin(out.path(), &log_of("pair")).unwrap();
    let mut reader = Reader::new(out.path(), &log_of("pair"));
    let record = vec![b'x'; MOST as usize / 2];
    for n in 0..2 * (FILES + 2) {
        log.see(&[&record[..], &n.to_le_bytes()].concat(), 1);
        log.flush();
        reader.follow().unwrap();
    }
    let newest = reader.search("", None, 100, LONG).unwrap();
    assert_eq!((newest.records.len() as u64, newest.before), (2 * FILES, None));
    assert_eq!(newest.records[0].0 as u64, 2 * (FILES + 2) - 1);
    clear(out.path());
    // What another process keeps is its own.
    let other = Name { process: 1, ..log_of("pair") };
    let [log, _] = [log_of("pair"), other.clone()].map(|name| Log::begin(out.path(), &name).unwrap());
    assert_eq!(logs(out.path()).into_iter().collect::<Vec<_>>(), [log_of("pair"), other]);
    log.see(b"new", 1);
    log.flush();
    reader.follow().unwrap();
    assert_eq!(texts(&reader.search("", None, 9, LONG).unwrap()), ["new"]);
}
