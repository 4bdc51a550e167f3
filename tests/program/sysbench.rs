//! `pipelines/sysbench-pairs.toml` on the real judged responses of seven models.

use std::fs::File;
use std::io::{Read, Write};

use flate2::read::GzDecoder;

use crate::common::{assert_accounted, counts, done, folder, repository, rows, shared};

const ACCOUNT: &str = "pairs 5470 (2735 unordered), cases 1 to 6: 70/130/49/65/799/1622, \
                       by g: 1:1510 2:852 3:273 4:69 5:23 6:4 7:2 8:1 9:1";

#[test]
fn the_pairs_are_counted_exactly_with_one_worker_and_with_two() {
    let Some(data) = shared("data/sysbench") else { return };
    let folder = folder(&[]);
    let pipeline = repository("pipelines/sysbench-pairs.toml");
    // Packed and unpacked files are the same.
    let mut plain = Vec::new();
    GzDecoder::new(File::open(data.join("sessions.jsonl.gz")).unwrap()).read_to_end(&mut plain).unwrap();
    File::create(folder.path().join("sessions.jsonl")).unwrap().write_all(&plain).unwrap();
    let packed = data.join("sessions.jsonl.gz");
    let responses = format!("responses.path={}", data.join("responses_same_history.jsonl.gz").display());
    let mut files = Vec::new();
    for (workers, sessions) in [("1", packed.to_str().unwrap()), ("2", "sessions.jsonl")] {
        let sessions = format!("sessions.path={sessions}");
        let arguments = ["run", pipeline.to_str().unwrap(), "--out", workers, "--workers", workers];
        let ran = done(folder.path(), &[&arguments[..], &["--set", &sessions, "--set", &responses]].concat());
        assert!(ran.out.contains(ACCOUNT), "{}", ran.out);
        assert_accounted(&ran);
        assert_eq!(counts(&ran, "pair")[3], 5470);
        files.push(rows(&folder.path().join(workers).join("pairs/pairs.jsonl")));
    }
    assert_eq!(files[0].len(), 5470);
    assert!(files[0] == files[1], "the number of workers changed the pairs");
}
