//! Every file that a run leaves is written, read back by other code than wrote it, and compared.

// A helper that fails fails its test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use obvert_api::record::{Message, Pair, PairConstraint};
use obvert_stages::Terms;
use obvert_stages::output::card::CardFacts;
use obvert_stages::output::metrics::MetricsFile;
use obvert_stages::output::shards::Shard;
use obvert_stages::output::tensorboard::EventFile;
use obvert_stages::output::{
    Error, card, jsonl, llama_factory, metrics, parquet, settle_shards, side_by_side, summary, tensorboard, write_shard,
};
use parquet_crate::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

extern crate parquet as parquet_crate;

const HOSTILE: &str = "<script>alert('x')</script> & \"quoted\" ```fence``` {{ name }}\u{1b}[31m 日本語";

/// A constraint of the pair: reversed where the chosen response violates it.
fn constraint(id: &str, active: bool, chosen: Option<bool>, rejected: Option<bool>) -> PairConstraint {
    let reversed = active && chosen == Some(false);
    let original = format!("Mention {id}.");
    let text = if reversed { format!("Do not mention {id}.") } else { original.clone() };
    PairConstraint { id: id.into(), text, original, reversed, check: None, active, chosen, rejected, corrected: false }
}

/// Two responses that differ in tea and milk (case 2), chosen one way; sugar cannot apply, lemon is not triggered.
fn pair() -> Pair {
    Pair {
        id: "p1".into(),
        dialogue: "d1".into(),
        turn: 1,
        profile: "waiter".into(),
        prompt: vec![
            Message::new("system", "You wait.\nRules:\n- Do not mention tea."),
            Message::new("user", "Hello"),
            Message::new("assistant", "Welcome"),
            Message::new("user", "What is there to drink?"),
        ],
        chosen: "Milk it is.".into(),
        rejected: format!("Tea. {HOSTILE}"),
        g: 2,
        case: 2,
        constraints: vec![
            constraint("tea", true, Some(false), Some(true)),
            constraint("milk", true, Some(true), Some(false)),
            constraint("sugar", true, None, None),
            constraint("lemon", false, None, None),
        ],
        chosen_sample: 0,
        rejected_sample: 3,
        chosen_model: "base".into(),
        rejected_model: "base@7".into(),
        chosen_finished: true,
        rejected_finished: true,
    }
}

/// The other direction of a pair.
fn mirror(pair: &Pair) -> Pair {
    let swap = |c: &PairConstraint| constraint(&c.id, c.active, c.rejected, c.chosen);
    Pair {
        id: format!("{}-mirror", pair.id),
        chosen: pair.rejected.clone(),
        rejected: pair.chosen.clone(),
        chosen_sample: pair.rejected_sample,
        rejected_sample: pair.chosen_sample,
        chosen_model: pair.rejected_model.clone(),
        rejected_model: pair.chosen_model.clone(),
        constraints: pair.constraints.iter().map(swap).collect(),
        ..pair.clone()
    }
}

/// Both directions of the pair, and one direction of another turn whose chosen response was perfect.
fn pairs() -> Vec<Pair> {
    let constraints = vec![constraint("tea", true, Some(true), Some(false))];
    let perfect = Pair { id: "p2".into(), turn: 0, g: 1, case: 6, constraints, ..pair() };
    vec![pair(), mirror(&pair()), perfect]
}

/// Pairs as writers take them.
fn read(pairs: &[Pair]) -> impl Iterator<Item = Result<Pair, Error>> {
    pairs.iter().cloned().map(Ok)
}

/// What every row must hold, from the pair and not from the code under test.
fn expected_row(pair: &Pair) -> Value {
    let word = |v: Option<bool>| v.map_or("n/a", |v| if v { "yes" } else { "no" });
    let constraint = |c: &PairConstraint| {
        json!({"id": c.id, "text": c.text, "original": c.original, "reversed": c.reversed, "active": c.active,
               "chosen": word(c.chosen), "rejected": word(c.rejected)})
    };
    json!({
        "prompt": pair.prompt.iter().map(|m| json!({"role": m.role, "content": m.content})).collect::<Vec<_>>(),
        "chosen": [{"role": "assistant", "content": pair.chosen}],
        "rejected": [{"role": "assistant", "content": pair.rejected}],
        "id": pair.id, "g": pair.g, "case": pair.case, "margin_g": pair.g,
        "dialogue": pair.dialogue, "turn": pair.turn, "profile": pair.profile,
        "reversed": pair.constraints.iter().filter(|c| c.reversed).map(|c| &c.text).collect::<Vec<_>>(),
        "constraints": pair.constraints.iter().map(constraint).collect::<Vec<_>>(),
        "provenance": {"chosen_model": pair.chosen_model, "chosen_sample": pair.chosen_sample,
                       "chosen_finished": pair.chosen_finished, "rejected_model": pair.rejected_model,
                       "rejected_sample": pair.rejected_sample, "rejected_finished": pair.rejected_finished},
    })
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Names in a folder, sorted: nothing temporary may stay.
fn names(dir: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn jsonl_holds_every_column_of_every_pair() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("pairs.jsonl");
    jsonl::write_pairs(&path, read(&pairs())).unwrap();
    assert_eq!(lines(&path), pairs().iter().map(expected_row).collect::<Vec<_>>());
    jsonl::write_pairs(&path, read(&[])).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "");
    assert_eq!(names(&dir), ["pairs.jsonl"]);
}

#[test]
fn parquet_holds_the_same_rows_under_a_schema_without_nulls() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("pairs.parquet");
    // More than one batch.
    let many: Vec<Pair> = pairs().into_iter().cycle().take(3000).collect();
    parquet::write_pairs(&path, read(&many)).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(&path).unwrap()).unwrap();
    assert!(reader.schema().fields().iter().all(|field| !field.is_nullable()));
    let rows: Vec<Value> =
        reader.build().unwrap().flat_map(|batch| arrow_rows(&arrow_array::StructArray::from(batch.unwrap()))).collect();
    assert_eq!(rows, many.iter().map(expected_row).collect::<Vec<_>>());
    parquet::write_pairs(&path, read(&[])).unwrap();
    let empty = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(&path).unwrap()).unwrap();
    assert_eq!((empty.metadata().file_metadata().num_rows(), empty.schema().fields().len()), (0, 13));
}

/// The rows of an Arrow struct as JSON objects.
fn arrow_rows(rows: &arrow_array::StructArray) -> Vec<Value> {
    let named: Vec<_> =
        rows.column_names().into_iter().zip(rows.columns()).map(|(n, c)| (n, arrow_values(c.as_ref()))).collect();
    (0..rows.len()).map(|i| named.iter().map(|(n, v)| (n.to_string(), v[i].clone())).collect()).collect()
}

fn arrow_values(column: &dyn arrow_array::Array) -> Vec<Value> {
    use arrow_schema::DataType;
    assert_eq!(column.null_count(), 0);
    match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().iter().map(|v| v.into()).collect(),
        DataType::Int32 => column.as_primitive::<Int32Type>().iter().map(|v| v.into()).collect(),
        DataType::Boolean => column.as_boolean().iter().map(|v| v.into()).collect(),
        DataType::List(_) => {
            column.as_list::<i32>().iter().map(|list| arrow_values(list.unwrap().as_ref()).into()).collect()
        }
        DataType::Struct(_) => arrow_rows(column.as_struct()),
        other => panic!("unexpected column of {other}"),
    }
}

#[test]
fn llama_factory_gets_rows_that_its_converter_accepts() {
    let dir = tempdir().unwrap();
    llama_factory::write_pairs(dir.path(), read(&pairs())).unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&fs::read(dir.path().join("rpo.json")).unwrap()).unwrap();
    assert_eq!(rows.len(), 3);
    assert_eq!(
        rows[0],
        json!({
            "conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Welcome"},
                              {"from": "human", "value": "What is there to drink?"}],
            "system": "You wait.\nRules:\n- Do not mention tea.",
            "chosen": {"from": "gpt", "value": "Milk it is."},
            "rejected": {"from": "gpt", "value": pair().rejected},
            "id": "p1", "g": 2,
        })
    );
    let info: Value = serde_json::from_slice(&fs::read(dir.path().join("dataset_info.json")).unwrap()).unwrap();
    assert_eq!(info["rpo"]["file_name"], "rpo.json");
    assert_eq!(info["rpo"]["ranking"], true);
    llama_factory::write_pairs(dir.path(), read(&[])).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("rpo.json")).unwrap(), "[]\n");
}

/// LLaMA-Factory reads every file of a folder, so there is nothing else in it.
#[test]
fn a_split_set_is_a_folder_to_llama_factory_and_a_pattern_to_others() {
    let dir = tempdir().unwrap();
    let write = |of| {
        (0..of).for_each(|index| write_shard(dir.path(), Shard { index, of }, || pairs().into_iter().map(Ok)).unwrap());
        settle_shards(dir.path(), of).unwrap();
        let info: Value =
            serde_json::from_slice(&fs::read(dir.path().join("llama-factory/dataset_info.json")).unwrap()).unwrap();
        let rows = dir.path().join("llama-factory").join(info["rpo"]["file_name"].as_str().unwrap());
        let mut names: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .chain(fs::read_dir(dir.path().join("llama-factory")).unwrap())
            .chain(fs::read_dir(&rows).into_iter().flatten())
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !["llama-factory", "dataset_info.json"].contains(&name.as_str()))
            .collect();
        names.sort();
        names
    };
    let whole = ["pairs.jsonl", "pairs.parquet", "rpo.json"];
    assert_eq!(write(1), whole);
    let split = |stem: &str, ext: &str| [0, 1].map(|n| format!("{stem}-0000{n}-of-00002.{ext}"));
    let [a, b, c] = [split("pairs", "jsonl"), split("pairs", "parquet"), split("rpo", "json")];
    let mut expected = [a, b, c].concat();
    expected.push("rpo-00002".into());
    expected.sort();
    assert_eq!(write(2), expected);
    assert_eq!(write(1), whole);
}

#[test]
fn llama_factory_refuses_rows_that_would_be_skipped() {
    let broken: [(&str, &[&str]); 5] = [
        ("message 2 is from \"human\"", &["system", "user", "user", "assistant"]),
        ("2 messages", &["system", "user", "assistant"]),
        ("0 messages", &["system"]),
        ("message 1 is from \"gpt\"", &["assistant"]),
        ("message 2 is from \"tool\"", &["user", "tool", "user"]),
    ];
    for (cause, roles) in broken {
        let dir = tempdir().unwrap();
        let prompt = roles.iter().map(|role| Message::new(role, "text")).collect();
        let rows = [pair(), Pair { id: "bad".into(), prompt, ..pair() }];
        let error = llama_factory::write_pairs(dir.path(), read(&rows)).unwrap_err();
        assert!(matches!(&error, Error::Pair { pair, .. } if pair == "bad"), "{error}");
        assert!(error.to_string().contains(cause), "{error} should say: {cause}");
        assert_eq!(names(&dir), [""; 0], "nothing may be left of a refused file");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_named_and_the_old_one_stays() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("rpo.json");
    llama_factory::write_pairs(dir.path(), read(&pairs())).unwrap();
    let before = fs::read(&path).unwrap();
    llama_factory::write_pairs(dir.path(), read(&[pair(), Pair { prompt: vec![], ..pair() }])).unwrap_err();
    assert_eq!(fs::read(&path).unwrap(), before);
    let below = path.join("pairs.jsonl");
    let error = jsonl::write_pairs(&below, read(&pairs())).unwrap_err();
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
}

#[test]
fn both_directions_count_once() {
    let counts = summary(&pairs());
    assert_eq!((counts.pairs, counts.unordered), (3, 2));
    assert_eq!(counts.by_case, [0, 1, 0, 0, 0, 1]);
    assert_eq!(counts.by_g, BTreeMap::from([(1, 1), (2, 1)]));
    assert_eq!(summary(&[] as &[Pair]), Default::default());
    let nonsense = Pair { case: 9, ..pair() };
    assert_eq!(summary(&[nonsense]).by_case, [0; 6]);
}

/// A pair by the verdicts on its constraints, chosen and rejected: capitals are reversed.
fn judged(verdicts: &[&str], g: u32) -> Pair {
    let said = |letter: char| match letter.to_ascii_lowercase() {
        'y' => Some(true),
        'n' => Some(false),
        _ => None,
    };
    let constraint = |(index, text): (usize, &&str)| {
        let letters: Vec<char> = text.chars().collect();
        let reversed = letters[0].is_uppercase();
        PairConstraint { reversed, ..constraint(&format!("c{index}"), true, said(letters[0]), said(letters[1])) }
    };
    Pair { g, constraints: verdicts.iter().enumerate().map(constraint).collect(), ..pair() }
}

#[test]
fn what_reversal_made_of_pairs_is_counted_and_not_taken_for_granted() {
    let under_prompt = |verdicts: &[&str]| {
        let counts = summary(&[judged(verdicts, 1)]);
        let case = counts.after.iter().position(|count| *count == 1).map_or(0, |index| index + 1);
        (case, counts.clean, counts.reversed)
    };
    assert_eq!(under_prompt(&["Ny", "yn"]), (6, 1, 1));
    assert_eq!(under_prompt(&["ny", "yn"]), (1, 0, 0));
    assert_eq!(under_prompt(&["ny", "yn", "yy"]), (2, 0, 0));
    assert_eq!(under_prompt(&["ny", "yn", "yn"]), (3, 0, 0));
    assert_eq!(under_prompt(&["ny", "yn", "yn", "yy"]), (4, 0, 0));
    assert_eq!(under_prompt(&["yn", "nn"]), (5, 0, 0));
    assert_eq!(under_prompt(&["yn", "Nn"]), (6, 1, 1));
    // Clean as far as both are decided, but the chosen one violates something else.
    assert_eq!(under_prompt(&["yn", "n-"]), (6, 0, 0));
    // Nothing speaks for the chosen one.
    assert_eq!((under_prompt(&["ny", "yy"]).0, under_prompt(&["yy"]).0, under_prompt(&[]).0), (0, 0, 0));
    let others = [judged(&["ny", "yn", "yn"], 1), Pair { turn: 7, ..judged(&["ny", "yn"], 2) }];
    assert_eq!(summary(&others).other_g, 1, "g of the first is the difference of scores");
    assert_eq!(summary(&others).and(&summary(&pairs())).after, [1, 0, 1, 0, 0, 3]);
}

/// The values of one logged step.
fn values(loss: f64) -> BTreeMap<String, f64> {
    BTreeMap::from([("loss".to_string(), loss), ("rewards/chosen".to_string(), 1.0 - loss)])
}

#[test]
fn metrics_survive_a_torn_line_and_resume_at_a_step() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("metrics.jsonl");
    let mut log = MetricsFile::open(&path).unwrap();
    for step in 1..=4 {
        log.append(step, &values(step as f64)).unwrap();
    }
    // Every line is on disk before the file is closed.
    assert_eq!(lines(&path).len(), 4);
    drop(log);
    let whole = fs::read_to_string(&path).unwrap();
    let steps = |path: &Path| metrics::read(path).unwrap().iter().map(|row| row["step"]).collect::<Vec<_>>();
    for torn in ["{\"step\":5,\"lo", "{", "\u{0}\u{0}"] {
        fs::write(&path, format!("{whole}{torn}")).unwrap();
        assert_eq!(steps(&path), [1.0, 2.0, 3.0, 4.0]);
        MetricsFile::open(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), whole, "after {torn:?}");
    }
    let mut log = MetricsFile::open(&path).unwrap();
    log.truncate(2).unwrap();
    log.append(3, &values(f64::NAN)).unwrap();
    assert_eq!(steps(&path), [1.0, 2.0, 3.0]);
    assert_eq!(lines(&path)[2], json!({"step": 3, "loss": null, "rewards/chosen": null}));
    assert!(metrics::read(&path).unwrap()[2]["loss"].is_nan());
    log.truncate(0).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "");
}

#[test]
fn a_broken_line_in_the_middle_of_the_metrics_is_named() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("metrics.jsonl");
    for (broken, cause) in [("{\"step\":1,}", "trailing comma"), ("{\"loss\":1}", "no step")] {
        fs::write(&path, format!("{{\"step\":1}}\n{broken}\n{{\"step\":3}}\n")).unwrap();
        let error = metrics::read(&path).unwrap_err().to_string();
        assert!(error.contains("metrics.jsonl:2: ") && error.contains(cause), "{error}");
    }
}

/// One event as a reader of TensorBoard's format sees it.
#[derive(Debug, Default, PartialEq)]
struct Event {
    step: u64,
    version: String,
    session: bool,
    scalars: Vec<(String, f32)>,
}

/// CRC-32C bit by bit (polynomial 0x82f63b78, reflected), masked as TFRecord asks.
fn masked_crc(data: &[u8]) -> u32 {
    let bit = |crc: u32| {
        if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 }
    };
    let crc = !data.iter().fold(!0, |crc: u32, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| bit(crc)));
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Payloads of a TFRecord file; both checksums of each are verified.
fn tf_records(mut file: &[u8]) -> Vec<Vec<u8>> {
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
    let mut records = Vec::new();
    while !file.is_empty() {
        let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        assert_eq!(word(&file[8..12]), masked_crc(&file[..8]));
        let (payload, rest) = file[12..].split_at(length);
        assert_eq!(word(&rest[..4]), masked_crc(payload));
        records.push(payload.to_vec());
        file = &rest[4..];
    }
    records
}

/// The fields of a protobuf message as (number, bytes); numbers of wire type 0 as eight little-endian bytes.
fn fields(mut message: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let length = match key & 7 {
            0 => {
                fields.push((key >> 3, varint(&mut message).to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            5 => 4,
            _ => varint(&mut message) as usize,
        };
        let (value, rest) = message.split_at(length);
        fields.push((key >> 3, value.to_vec()));
        message = rest;
    }
    fields
}

fn varint(message: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = message[0];
        *message = &message[1..];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

fn event(payload: &[u8]) -> Event {
    let mut event = Event::default();
    for (number, value) in fields(payload) {
        match number {
            1 => assert!(f64::from_le_bytes(value.try_into().unwrap()) > 1.7e9, "seconds since 1970"),
            2 => event.step = u64::from_le_bytes(value.try_into().unwrap()),
            3 => event.version = String::from_utf8(value).unwrap(),
            5 => event.scalars = fields(&value).iter().map(|(_, scalar)| scalar_of(scalar)).collect(),
            7 => event.session = fields(&value) == [(1, 1u64.to_le_bytes().to_vec())],
            other => panic!("unexpected field {other}"),
        }
    }
    event
}

fn scalar_of(value: &[u8]) -> (String, f32) {
    let fields = fields(value);
    let [(1, tag), (2, number)] = fields.as_slice() else { panic!("unexpected fields {fields:?}") };
    (String::from_utf8(tag.clone()).unwrap(), f32::from_le_bytes(number.as_slice().try_into().unwrap()))
}

fn events(path: &Path) -> Vec<Event> {
    tf_records(&fs::read(path).unwrap()).iter().map(|payload| event(payload)).collect()
}

#[test]
fn tensorboard_events_carry_the_tags_of_trl() {
    let dir = tempdir().unwrap();
    let mut first = EventFile::create(dir.path(), None).unwrap();
    first.scalars(300, &values(0.25)).unwrap();
    let scalars = vec![("train/loss".to_string(), 0.25), ("train/rewards/chosen".to_string(), 0.75)];
    let version = || Event { version: "brain.Event:2".into(), ..Event::default() };
    assert_eq!(events(first.path()), [version(), Event { step: 300, scalars, ..Event::default() }]);
    let resumed = EventFile::create(dir.path(), Some(200)).unwrap();
    assert_eq!(events(resumed.path()), [version(), Event { step: 201, session: true, ..Event::default() }]);
    assert!(resumed.path() > first.path(), "TensorBoard reads files in the order of their names");
    assert_eq!(tensorboard::tag("eval_loss"), "eval/loss");
}

fn card_facts() -> CardFacts {
    CardFacts {
        name: "tea: \"time\"".into(),
        terms: Terms { license: Some("apache-2.0".into()), languages: vec!["en".into(), "de".into()] },
        parquet: "pairs.parquet".into(),
        jsonl: "pairs.jsonl".into(),
        pairs: summary(&pairs()),
        sample: Some(pair()),
        pipeline_file: "tea.toml".into(),
        pipeline: format!("# {HOSTILE}\nname = \"tea\""),
        lock: vec![("judge".into(), "0.1.0".into())],
        rerun: "obvert run tea.toml".into(),
    }
}

#[test]
fn the_card_describes_the_files_beside_it() {
    let dir = tempdir().unwrap();
    card::write(dir.path(), &card_facts()).unwrap();
    let card = fs::read_to_string(dir.path().join("README.md")).unwrap();
    let wanted = [
        "---\npretty_name: \"tea: \\\"time\\\"\"\nlicense: \"apache-2.0\"\nlanguage:\n- \"en\"\n- \"de\"\n",
        "- n<1K\n",
        "    path: \"pairs.parquet\"\n",
        "3 rows from 2 pairs of responses",
        "| 2 | same | some in common, neither dominates | ",
        "\n````toml\n# <script>alert('x')</script> & \"quoted\" ```fence``` {{ name }}",
        "\nname = \"tea\"\n````\n",
        "\nobvert run tea.toml\n",
        "\njudge 0.1.0\n",
    ];
    for text in wanted {
        assert!(card.contains(text), "no {text:?} in {card}");
    }
    let sample = card.split("```json\n").nth(1).unwrap().split("\n```").next().unwrap();
    assert_eq!(serde_json::from_str::<Value>(sample).unwrap(), expected_row(&pair()));
    let mut large = card_facts();
    large.pairs.pairs = 70_000;
    card::write(dir.path(), &large).unwrap();
    let card = fs::read_to_string(dir.path().join("README.md")).unwrap();
    for text in ["path: \"pairs-*-of-00016.parquet\"", "reads `rpo-00016`", "`pairs-*-of-00016.jsonl` holds"] {
        assert!(card.contains(text), "no {text:?} in {card}");
    }
    card::write(dir.path(), &CardFacts::default()).unwrap();
}

#[test]
fn side_by_side_fits_its_width_and_cannot_steer_the_terminal() {
    let text = side_by_side(&pair(), 100);
    for line in ["Mention tea. ", "REVERSED: Do not mention tea.", "no → yes", "the same (not triggered)"] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
    for width in [48, 80, 133] {
        let text = side_by_side(&pair(), width);
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        let widest = text.lines().map(textwrap::core::display_width).max().unwrap();
        assert!(widest <= width, "{widest} > {width} in\n{text}");
    }
}
