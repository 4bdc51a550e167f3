//! `pipelines/sysbench-pairs.toml` on the real judged responses of seven models.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::Value;

use crate::common::{assert_accounted, counts, done, folder, repository, rows, shared};

const ACCOUNT: &str = "pairs 5470 (2735 unordered), cases 1 to 6: 70/130/49/65/799/1622, \
                       by g: 1:1510 2:852 3:273 4:69 5:23 6:4 7:2 8:1 9:1";

#[test]
fn the_pairs_are_counted_exactly_with_one_worker_and_with_two() {
    let Some(data) = shared("data/sysbench") else { return };
    let folder = folder(&[]);
    let pipeline = repository("pipelines/sysbench-pairs.toml");
    // Packed and unpacked files are the same.
    let plain = unpacked(&data.join("sessions.jsonl.gz"));
    File::create(folder.path().join("sessions.jsonl")).unwrap().write_all(plain.as_bytes()).unwrap();
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

fn unpacked(path: &Path) -> String {
    let mut text = String::new();
    GzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

/// Two responses' verdicts on each constraint, as far as both have one.
type Verdicts = Vec<(bool, bool)>;

fn difference(verdicts: &Verdicts) -> u64 {
    verdicts.iter().filter(|(a, b)| a != b).count() as u64
}

/// The paper's six cases, read off the sets of constraints that each response satisfies. Shares nothing with the stage that pairs.
fn case(verdicts: &Verdicts) -> usize {
    let set = |of: fn(&(bool, bool)) -> bool| -> HashSet<usize> {
        verdicts.iter().enumerate().filter(|(_, verdict)| of(verdict)).map(|(index, _)| index).collect()
    };
    let (a, b) = (set(|v| v.0), set(|v| v.1));
    let (better, other) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    match (better.len() == other.len(), better.is_disjoint(&other), better.is_superset(&other)) {
        (true, disjoint, _) => {
            if disjoint {
                1
            } else {
                2
            }
        }
        (false, _, true) => {
            if better.len() == verdicts.len() {
                6
            } else {
                5
            }
        }
        (false, disjoint, false) => {
            if disjoint {
                3
            } else {
                4
            }
        }
    }
}

/// What is counted over pairs: the cases, and the differences.
#[derive(Debug, Default, PartialEq)]
struct Counted {
    cases: [u64; 6],
    differences: BTreeMap<u64, u64>,
}

impl Counted {
    fn count(&mut self, verdicts: &Verdicts) {
        self.cases[case(verdicts) - 1] += 1;
        *self.differences.entry(difference(verdicts)).or_default() += 1;
    }
}

/// From the published verdicts: all pairs of a turn's distinct ones that differ.
fn of_responses(path: &Path) -> Counted {
    let mut turns: BTreeMap<String, BTreeMap<String, Vec<Option<bool>>>> = BTreeMap::new();
    for line in unpacked(path).lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let said = row["verdict"].as_array().unwrap().iter().map(|v| v.as_u64().map(|v| v == 1)).collect();
        let turn = turns.entry(format!("{} {}", row["system_id"], row["turn"])).or_default();
        turn.insert(row["model"].to_string(), said);
    }
    let mut counted = Counted::default();
    for turn in turns.values() {
        let distinct: Vec<_> = turn.values().collect::<HashSet<_>>().into_iter().collect();
        for (index, a) in distinct.iter().enumerate() {
            for b in &distinct[index + 1..] {
                let verdicts = a.iter().zip(b.iter()).filter_map(|(a, b)| a.zip(*b)).collect();
                if difference(&verdicts) > 0 {
                    counted.count(&verdicts);
                }
            }
        }
    }
    counted
}

/// From rows of `pairs.jsonl`, on the originals and with reversed constraints turned around: pairs of responses, and the cases of
/// all rows under their own prompts.
fn of_rows(rows: &[Value]) -> (Counted, Counted) {
    let (mut before, mut after, mut seen) = (Counted::default(), Counted::default(), HashSet::new());
    for row in rows {
        let both = |reversal: bool| -> Verdicts {
            let said = |constraint: &Value, side: &str| {
                let yes = (constraint[side] != "n/a").then(|| constraint[side] == "yes")?;
                Some(yes != (reversal && constraint["reversed"] == true))
            };
            let constraints = row["constraints"].as_array().unwrap();
            constraints.iter().filter_map(|c| Some((said(c, "chosen")?, said(c, "rejected")?))).collect()
        };
        let (original, own) = (both(false), both(true));
        assert!(own.iter().all(|verdict| verdict.0), "the chosen response violates its own prompt: {row}");
        assert_eq!(
            (row["case"].as_u64().unwrap() as usize, row["g"].as_u64().unwrap()),
            (case(&original), difference(&original))
        );
        after.count(&own);
        let mut responses = ["chosen", "rejected"].map(|side| row["provenance"][format!("{side}_sample")].to_string());
        responses.sort();
        if seen.insert((row["dialogue"].to_string(), row["turn"].to_string(), responses)) {
            before.count(&original);
        }
    }
    (before, after)
}

/// The cells of the report's table that has such a caption, by their labels; those without one by their place.
fn table(page: &str, caption: &str) -> Vec<HashMap<String, String>> {
    let table = page.split("<table").find(|table| table.contains(&format!("<caption>{caption}"))).unwrap();
    let body = table.split("<tbody>").nth(1).unwrap().split("</tbody>").next().unwrap();
    let text = |html: &str| html.split('<').map(|part| part.rsplit('>').next().unwrap()).collect::<String>();
    let cell = |(place, html): (usize, &str)| {
        let label = html.split_once("data-label=\"").map(|(_, rest)| rest.split('"').next().unwrap().to_owned());
        (label.unwrap_or_else(|| place.to_string()), text(&format!("<td{html}")).trim().replace(',', ""))
    };
    body.split("<tr>").skip(1).map(|row| row.split("<td").skip(1).enumerate().map(cell).collect()).collect()
}

/// What the report says of pairs of responses, and the cases that it gives training pairs.
fn of_report(page: &str) -> (Counted, [u64; 6]) {
    let number = |row: &HashMap<String, String>, name: &str| -> u64 { row[name].parse().unwrap() };
    let cases = table(page, "By case");
    let column = |name: &str| -> [u64; 6] { std::array::from_fn(|index| number(&cases[index], name)) };
    let differences = table(page, "Pairs of responses by difference g, the number of constraints in which they differ");
    let differences = differences.iter().map(|row| (number(row, "0"), number(row, "1"))).collect();
    (Counted { cases: column("Before reversal"), differences }, column("After reversal"))
}

#[test]
fn the_report_counts_what_the_published_verdicts_say() {
    let Some(data) = shared("data/sysbench") else { return };
    let folder = folder(&[]);
    let pipeline = repository("pipelines/sysbench-pairs.toml");
    let of = |stage: &str, file: &str| format!("{stage}.path={}", data.join(file).display());
    let [sessions, responses] =
        [("sessions", "sessions.jsonl.gz"), ("responses", "responses_same_history.jsonl.gz")].map(|(s, f)| of(s, f));
    let set = ["--set", &sessions, "--set", &responses];
    done(folder.path(), &[&["run", pipeline.to_str().unwrap(), "--out", "out"], &set[..]].concat());
    let page = fs::read_to_string(folder.path().join("out/report.html")).unwrap();
    let rows = rows(&folder.path().join("out/pairs/pairs.jsonl"));
    let published = of_responses(&data.join("responses_same_history.jsonl.gz"));
    assert_eq!(published.cases, [70, 130, 49, 65, 799, 1622]);
    let (before, after) = of_rows(&rows);
    assert_eq!(before, published, "pairs.jsonl");
    let (said, said_after) = of_report(&page);
    assert_eq!(said, published, "report.html");
    assert_eq!((said_after, after.cases), ([0, 0, 0, 0, 0, 5470], [0, 0, 0, 0, 0, 5470]));
    for text in ["at least one constraint: 2,735. Training pairs made of them: 5,470.", "<dt>Pairs</dt><dd>5,470</dd>"]
    {
        assert!(page.contains(text), "no {text:?}");
    }
    // Every case occurs, and has an example.
    let examples: HashSet<&str> = page.split("Before reversal case ").skip(1).map(|rest| &rest[..1]).collect();
    assert_eq!(examples.len(), 6, "{examples:?}");
}
