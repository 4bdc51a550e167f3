//! Broken files and what is reported.

use std::fs;
use std::path::{Path, PathBuf};

use super::{GOOD, TestCatalog, check};
use crate::pipeline::{Report, parse};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/pipeline/tests/broken")
}

/// Each `broken/NAME.toml` yields exactly `broken/NAME.txt`; `OBVERT_BLESS=1` rewrites the reports for review.
#[test]
fn reports_are_exact() {
    let mut cases = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            cases += 1;
            exact(&path);
        }
    }
    assert!(cases >= 12, "only {cases} broken files found");
}

fn exact(path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    let name = Path::new(path.file_name().unwrap());
    let document = parse(name, &text, &[]);
    let report = document.and_then(|document| document.resolve(&TestCatalog::default()));
    let report = format!("{}\n", report.map(|_| "no error").map_err(|report| report.to_string()).unwrap_err());
    let expected = path.with_extension("txt");
    if std::env::var_os("OBVERT_BLESS").is_some() {
        fs::write(&expected, &report).unwrap();
    }
    let expected = fs::read_to_string(&expected).unwrap_or_else(|_| panic!("no report for {}", path.display()));
    assert_eq!(report, expected, "{}\n{report}", path.display());
}

/// "line:column message | help" of each error; "set" in place of the position for arguments.
pub(super) fn errors<T>(report: Result<T, Report>) -> Vec<String> {
    let Err(report) = report else {
        return Vec::new();
    };
    report
        .errors()
        .iter()
        .map(|error| {
            let place = error.location.as_ref().map_or("set".to_owned(), |at| format!("{}:{}", at.line, at.column));
            let help = error.help.as_ref().map_or(String::new(), |help| format!(" | {help}"));
            format!("{place} {}{help}", error.message)
        })
        .collect()
}

/// A text of the sound pipeline, what replaces it, and the errors.
const CHANGES: &[(&str, &str, &[&str])] = &[
    ("name = \"quickstart\"", "", &["1:1 the pipeline has no name | add a first line such as name = \"quickstart\""]),
    (
        "name = \"quickstart\"",
        "name = \"../up\"",
        &["2:8 `../up` cannot be a name: names are of letters, digits, `-` and `_`"],
    ),
    ("workers = 2", "workers = \"2\"", &["6:11 `workers` expects an integer, found a string"]),
    ("workers = 2", "seed = 99999999999999999999", &["6:8 `seed` expects an integer, found an integer beyond 64 bits"]),
    (
        "max_in_flight = 8",
        "max_in_fligth = 8",
        &["14:1 model kind `scripted` has no setting `max_in_fligth` | did you mean `max_in_flight`?"],
    ),
    ("max_in_flight = 8", "max_in_flight = 2.5", &["14:17 `max_in_flight` expects an integer, found the number 2.5"]),
    ("kind = \"scripted\"", "kind = 1", &["13:8 `kind` must be a string"]),
    ("path = \"tiny\"", "", &["8:8 model kind `local` needs the setting `path`"]),
    (
        "[model.strong]",
        "[model.weak]",
        &[
            "32:9 no model is called `strong` | the models are: `policy`, `weak`",
            "38:10 no model is called `strong` | the models are: `policy`, `weak`",
        ],
    ),
    ("type = \"personas\"", "typ = \"personas\"", &["21:1 stage `personas` has no `type` | did you mean `type`?"]),
    (
        "type = \"personas\"",
        "type = \"persona-play\"",
        &[
            "21:8 no stage type is called `persona-play` | the stage types are: `judge`, `next-turn`, `personas`, `play`, `profiles`, `respond`, `session`, `sink`",
        ],
    ),
    (
        "type = \"personas\"",
        "type = \"personas\"\nseed = 1",
        &[
            "22:1 stage type `personas` has no setting `seed` | it has: `type`, `from`, `with`, `isolation`, `timeout_s`, `memory_mb`, `grid`",
        ],
    ),
    (
        "with = \"personas\"",
        "",
        &[
            "20:8 nothing reads the source `personas` | name `personas` in the `from` or `with` of a stage, or remove it",
            "23:8 stage `sessions` (`session`) needs `with`: it looks up Persona",
        ],
    ),
    (
        "with = \"personas\"",
        "with = [\"profiles\"]",
        &[
            "20:8 nothing reads the source `personas` | name `personas` in the `from` or `with` of a stage, or remove it",
            "26:9 stage `sessions` (`session`) takes Persona as `with`, but stage `profiles` (`profiles`) outputs Profile",
        ],
    ),
    ("turns = 3", "turns = 3.0", &["27:9 `turns` expects an integer, found the number 3.0"]),
    ("turns = 3", "turns = -1", &["27:9 `turns` must be at least 1, found -1"]),
    ("turns = 3", "turn = 3", &["27:1 stage type `session` has no setting `turn` | did you mean `turns`?"]),
    (
        "turns = 3",
        "turns = 3\nnotes = \"x\"",
        &["28:1 stage type `session` has no setting `notes` | did you mean `note`?"],
    ),
    ("turns = 3", "turns = 07:30:00", &["27:9 `turns` expects an integer, found a date or time"]),
    (
        "from = [\"sessions\", \"next\"]",
        "from = [\"session\", \"next\"]",
        &["31:9 no stage is called `session` | did you mean `sessions`?"],
    ),
    ("from = [\"sessions\", \"next\"]", "", &["29:8 stage `play` (`play`) needs `from`: it takes Turn"]),
    ("model = \"strong\"", "model = \"strong\"\nopening = \"\"", &["33:11 `opening` must not be empty"]),
    (
        "strong = \"strong\"",
        "strong = \"quickstart\"",
        &["38:10 no model is called `quickstart` | the models are: `policy`, `strong`"],
    ),
    ("policy = \"policy\"", "policy = { name = \"policy\" }", &["37:10 `policy` expects a string, found a table"]),
    ("device = \"auto\"", "device = 1", &["39:10 `device` expects a string, found an integer"]),
    (
        "loss = { kind = \"rpo\", gamma = 0.5 }",
        "loss = { kind = \"dpo\", gamma = 0.5 }",
        &["40:8 `loss` needs the setting `beta`", "40:24 `loss` has no setting `gamma` | it has: `kind`, `beta`"],
    ),
    (
        "loss = { kind = \"rpo\", gamma = 0.5 }",
        "loss = { gamma = 0.5 }",
        &["40:8 `loss` needs the setting `kind` | it can be: `rpo`, `dpo`, `sft`"],
    ),
    ("loss = { kind = \"rpo\", gamma = 0.5 }", "loss = \"rpo\"", &["40:8 `loss` expects a table, found a string"]),
    ("format = \"jsonl\"", "schedule = \"linear\"", &["41:12 `schedule` cannot be `linear` | it can be: `constant`"]),
    ("format = \"jsonl\"", "schedule = \"constant\"", &[]),
    (
        "format = \"jsonl\"",
        "schedule = { linear = {} }",
        &["41:12 `schedule` needs one of the settings `cosine`, `steps`"],
    ),
    (
        "format = \"jsonl\"",
        "schedule = { steps = [1, 4294967296, true] }",
        &[
            "41:26 `schedule.steps[1]` must be at most 4294967295, found 4294967296",
            "41:38 `schedule.steps[2]` expects an integer, found a boolean",
        ],
    ),
    ("format = \"jsonl\"", "split = [1]", &["41:9 `split` needs at least 2 items, found 1"]),
    ("format = \"jsonl\"", "split = [1, 2, 3]", &["41:9 `split` needs at most 2 items, found 3"]),
    ("format = \"jsonl\"", "weights = { a = inf }", &["41:17 `weights.a` expects a number, found inf or nan"]),
    (
        "temperature = 0.7",
        "temperature = -0.1\ntop_p = 0",
        &[
            "44:15 `sampling.temperature` must be at least 0, found -0.1",
            "45:9 `sampling.top_p` must be above 0, found 0",
        ],
    ),
    (
        "type = \"next-turn\"\nfrom = [\"judge\"]",
        "type = \"play\"\nfrom = [\"play\"]\nmodel = \"strong\"",
        &["31:21 the cycle play -> next -> play passes through no stage that closes loops"],
    ),
    (
        "from = [\"judge\"]\nfolders",
        "from = [\"judge\", \"play\"]\nfolders",
        &[
            "57:18 stage `pairs` (`sink`) takes records of one type, but `judge` outputs Verdict and stage `play` (`play`) outputs Turn",
        ],
    ),
    ("folders = [\"out\", \"/abs\"]", "folders = \"out\"", &["58:11 `folders` expects an array, found a string"]),
];

#[test]
fn each_change_has_its_errors() {
    for (old, new, expected) in CHANGES {
        assert!(GOOD.contains(old), "{old:?} is not in the pipeline");
        let found = errors(check(&GOOD.replacen(old, new, 1), &[]));
        assert_eq!(found, *expected, "{old:?} -> {new:?}");
    }
}

/// A `--set` argument and its errors.
const ARGUMENTS: &[(&str, &[&str])] = &[
    (
        "sessions.turns",
        &["set the argument has no `=` | write NAME.KEY=VALUE for a stage, or a full path such as run.workers=2"],
    ),
    ("=3", &["set `` names no key | write NAME.KEY=VALUE for a stage, or a full path such as run.workers=2"]),
    ("sessions=3", &["set `sessions` is not a setting | name the key to set, such as run.workers or stage.NAME.KEY"]),
    (
        "sessions..turns=3",
        &[
            "set `sessions..turns` names no key | write NAME.KEY=VALUE for a stage, or a full path such as run.workers=2",
        ],
    ),
    ("session.turns=3", &["set no stage is called `session` | did you mean `sessions`?"]),
    ("model.polcy.path=x", &["set no model is called `polcy` | did you mean `policy`?"]),
    (
        "stage.nobody.at.all=x",
        &[
            "set no stage is called `nobody` | the stages are: `profiles`, `personas`, `sessions`, `play`, `respond`, `judge`, `next`, `pairs`",
        ],
    ),
    (
        "stage.play=x",
        &["set `stage.play` is not a setting | name the key to set, such as run.workers or stage.NAME.KEY"],
    ),
    ("rum.workers=2", &["set no stage is called `rum` | did you mean `run`?"]),
    ("run.worker=2", &["set [run] has no setting `worker` | did you mean `workers`?"]),
    ("run.workers=two", &["set `workers` expects an integer, found a string"]),
    ("run.workers.x=2", &["set `workers` is not a table, so it has no `x`"]),
    ("sessions.trns=3", &["set stage type `session` has no setting `trns` | did you mean `turns`?"]),
    ("sessions.from=[\"profile\"]", &["set no stage is called `profile` | did you mean `profiles`?"]),
    ("respond.sampling.temperature=hot", &["set `sampling.temperature` expects a number, found a string"]),
    ("policy.path=x", &["set no stage is called `policy` | did you mean `model.policy`?"]),
];

#[test]
fn each_argument_has_its_errors() {
    for (argument, expected) in ARGUMENTS {
        let found = errors(check(GOOD, &[argument]));
        assert_eq!(found, *expected, "{argument}");
    }
}

#[test]
fn errors_in_arguments_name_the_argument() {
    let report = check(GOOD, &["run.workers=2", "sessions.turns=0"]).unwrap_err();
    let expected = "error: `turns` must be at least 1, found 0\n--> --set sessions.turns=0";
    assert_eq!(report.to_string(), expected);
    assert_eq!(report.errors()[0].argument.as_deref(), Some("sessions.turns=0"));
}

#[test]
fn later_errors_point_into_the_file() {
    let document = parse(Path::new("p.toml"), GOOD, &[]).unwrap();
    let stage = |stage, field| Report::at_stage(&document, stage, field, "x".to_owned());
    let cases = [
        (stage("respond", None), "34:8"),
        (stage("respond", Some("device")), "39:10"),
        (stage("respond", Some("loss.gamma")), "40:32"),
        (stage("respond", Some("sampling.top_p")), "43:1"),
        (stage("respond", Some("nothing")), "34:8"),
        (stage("nobody", None), "1:1"),
        (Report::at_model(&document, "policy", Some("path"), "x".to_owned()), "10:8"),
        (Report::at_plugin(&document, 0, "x".to_owned()), "3:12"),
    ];
    for (report, place) in cases {
        assert_eq!(errors::<()>(Err(report)), [format!("{place} x")]);
    }
}
