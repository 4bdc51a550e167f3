//! Which files of a folder are read.
//!
//! A folder that is laid out as a Hugging Face data set has splits: its card names them, or the names of its files do, by the
//! rules of `datasets`. Any other folder is all of its files, as they lie in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::card::{self, Config};
use super::file::{Format, KNOWN};
use super::glob::matches;

/// What lies beside the data and is none of it.
const ASIDE: [&str; 5] = [card::NAME, "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "config.json"];

/// The words that name a split, in a file's name or a folder's.
const KEYWORDS: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "dev", "val"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];
/// Where they stand: in a folder's name, or else in a file's.
const IN_NAMES: [&[&str]; 2] = [
    &["**/{}/**", "**/{}[-._ 0-9]*/**", "**/*[-._ 0-9]{}/**", "**/*[-._ 0-9]{}[-._ 0-9]*/**"],
    &["**/{}[-._ 0-9]*", "**/*[-._ 0-9]{}[-._ 0-9]*"],
];
/// The files that data sets on the hub have, whatever their splits are called.
const SHARD: &str = "data/*-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9]*.*";

/// The files of each split, as names within the folder.
type Splits<'a> = BTreeMap<String, Vec<&'a str>>;

/// The files of a split, `train` by default, or all of a folder that has none.
///
/// # Errors
/// Says what is not there, or not understood.
pub(super) fn files(folder: &Path, split: Option<&str>, config: Option<&str>) -> Result<Vec<PathBuf>, String> {
    let failed = |cause: String| format!("{}: {cause}", folder.display());
    let names = names(folder, "")?;
    let card = if names.is_empty() { None } else { card::config(folder, config)? };
    if let (None, Some(config)) = (&card, config) {
        return Err(failed(format!("no config `{config}`: there is no {} with `configs` in it", card::NAME)));
    }
    let splits = card.as_ref().map_or_else(|| Ok(by_name(&names)), |card| by_card(card, &names)).map_err(failed)?;
    match chosen(&splits, split, card.is_some()).map_err(failed)? {
        Some(files) => one_format(files).map_err(failed),
        None => plain(folder, &names),
    }
    .map(|files| files.iter().map(|file| folder.join(file)).collect())
}

/// Files of data in the folder and those in it, hidden ones left out, by their names within it.
fn names(folder: &Path, within: &str) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for (path, name) in entries(&folder.join(within))? {
        let within = if within.is_empty() { name.clone() } else { format!("{within}/{name}") };
        if path.is_dir() && !path.is_symlink() && !name.starts_with("__") {
            found.extend(names(folder, &within)?);
        } else if is_data(&path) && path.is_file() {
            found.push(within);
        }
    }
    found.sort();
    Ok(found)
}

fn entries(folder: &Path) -> Result<Vec<(PathBuf, String)>, String> {
    let failed = |e: std::io::Error| format!("{}: {e}", folder.display());
    let entry = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).filter(|name| !name.starts_with('.'));
        Ok(name.map(str::to_owned).map(|name| (path, name)))
    };
    std::fs::read_dir(folder).map_err(failed)?.filter_map(|found| entry(found).transpose()).collect()
}

fn is_data(path: &Path) -> bool {
    let aside = path.file_name().is_some_and(|name| ASIDE.iter().any(|other| name == *other));
    !aside && Format::of(path).is_some_and(|format| format != Format::Text)
}

fn by_card<'a>(card: &Config, names: &'a [String]) -> Result<Splits<'a>, String> {
    let inner = |name: &'a String| match card.folder.trim_matches('/') {
        "" => Some(name.as_str()),
        folder => name.strip_prefix(folder)?.strip_prefix('/'),
    };
    if card.splits.is_empty() {
        let within: Vec<&str> = names.iter().filter(|name| inner(name).is_some()).map(String::as_str).collect();
        let named = by_words(&within);
        return Ok(if named.is_empty() { Splits::from([("train".into(), within)]) } else { named });
    }
    let mut splits = Splits::new();
    for (split, patterns) in &card.splits {
        let of = |pattern: &String| {
            let files = names.iter().filter(|name| inner(name).is_some_and(|name| matches(pattern, name)));
            let files: Vec<&str> = files.map(String::as_str).collect();
            if files.is_empty() { Err(format!("{}: no {KNOWN} file is `{pattern}`", card::NAME)) } else { Ok(files) }
        };
        splits.insert(split.clone(), patterns.iter().map(of).collect::<Result<Vec<_>, _>>()?.concat());
    }
    Ok(splits)
}

fn by_name(names: &[String]) -> Splits<'_> {
    let mut shards = Splits::new();
    for name in names.iter().filter(|name| matches(SHARD, name)) {
        let split = name.rsplit_once("-of-").and_then(|(before, _)| before["data/".len()..].rsplit_once('-'));
        shards.entry(split.map_or_else(String::new, |(split, _)| split.to_owned())).or_default().push(name);
    }
    if shards.is_empty() { by_words(&names.iter().map(String::as_str).collect::<Vec<_>>()) } else { shards }
}

fn by_words<'a>(names: &[&'a str]) -> Splits<'a> {
    let places = IN_NAMES.iter().map(|patterns| {
        let of = |words: &[&str]| {
            let tells = |name: &&&str| {
                words.iter().any(|word| patterns.iter().any(|pattern| matches(&pattern.replace("{}", word), name)))
            };
            names.iter().filter(tells).copied().collect::<Vec<_>>()
        };
        let splits = KEYWORDS.iter().map(|(split, words)| (split.to_string(), of(words)));
        splits.filter(|(_, files)| !files.is_empty()).collect::<Splits<'a>>()
    });
    places.into_iter().find(|splits| !splits.is_empty()).unwrap_or_default()
}

/// The files of the split that is asked for, or of `train`. None where nothing speaks of splits, or none of them is for training.
fn chosen<'a>(splits: &Splits<'a>, split: Option<&str>, by_card: bool) -> Result<Option<Vec<&'a str>>, String> {
    let names = || splits.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match (splits.get(split.unwrap_or("train")), split) {
        (Some(files), _) => Ok(Some(files.clone())),
        (None, None) if by_card && splits.len() == 1 => Ok(splits.values().next().cloned()),
        (None, None) if by_card => Err(format!("choose one of its splits with `split`: {}", names())),
        (None, None) => Ok(None),
        (None, Some("train")) if splits.is_empty() => Ok(None),
        (None, Some(split)) if splits.is_empty() => Err(format!("no split `{split}`: nothing in it speaks of splits")),
        (None, Some(split)) => Err(format!("no split `{split}`; it has {}", names())),
    }
}

/// A split that is there in two formats would be read twice.
fn one_format(files: Vec<&str>) -> Result<Vec<String>, String> {
    let format = |name: &&str| Format::of(Path::new(name));
    if let Some(other) = files.iter().find(|name| format(name) != format(&files[0])) {
        return Err(format!("a split in two formats: `{}` and `{other}`; name the file to read", files[0]));
    }
    Ok(files.into_iter().map(str::to_owned).collect())
}

/// The folder's own files, as ever; Parquet where there is nothing else, since it is often there beside the same rows as text. Where
/// there is nothing at all, what the folders in it hold.
fn plain(folder: &Path, names: &[String]) -> Result<Vec<String>, String> {
    let mut own = entries(folder)?;
    own.retain(|(path, _)| path.is_file() && Format::of(path).is_some());
    let is_parquet = |path: &Path| Format::of(path) == Some(Format::Parquet);
    let is_aside = |(_, name): &(PathBuf, String)| ASIDE.contains(&name.as_str());
    if own.iter().any(|(path, _)| is_data(path)) || !names.is_empty() && own.iter().all(is_aside) {
        own.retain(|file| !is_aside(file));
    }
    if own.iter().any(|(path, _)| !is_parquet(path)) {
        own.retain(|(path, _)| !is_parquet(path));
    }
    let mut own: Vec<String> = own.into_iter().map(|(_, name)| name).collect();
    own.sort();
    match (own.is_empty(), names.is_empty()) {
        (false, _) => Ok(own),
        (true, false) => one_format(names.iter().map(String::as_str).collect()),
        (true, true) => Err(format!("{}: no {KNOWN} file in it", folder.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of a folder with these files, the card's `configs` in front; or why nothing is.
    fn read(listed: &str, configs: &str, [split, config]: [Option<&str>; 2]) -> String {
        let folder = tempfile::tempdir().unwrap();
        for name in listed.split(' ').filter(|name| !name.is_empty()) {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(
                path,
                if name == card::NAME { format!("---\n{configs}---\n# Data\n") } else { String::new() },
            )
            .unwrap();
        }
        let place = format!("{}/", folder.path().display());
        match files(folder.path(), split, config) {
            Ok(files) => {
                files.iter().map(|file| file.display().to_string().replace(&place, "")).collect::<Vec<_>>().join(" ")
            }
            Err(cause) => cause.replace(&place[..place.len() - 1], "DIR"),
        }
    }

    #[test]
    fn names_tell_splits_as_datasets_reads_them() {
        let shards = "README.md data/test-00000-of-00001.parquet data/train-00000-of-00002.parquet data/train-00001-of-00002.parquet";
        let train = "data/train-00000-of-00002.parquet data/train-00001-of-00002.parquet";
        let own = "data/de_train-00000-of-00001-0a1b.parquet data/train.csv";
        let cases = [
            (shards, None, train),
            (shards, Some("test"), "data/test-00000-of-00001.parquet"),
            (shards, Some("dev"), "DIR: no split `dev`; it has `test`, `train`"),
            (own, Some("de_train"), "data/de_train-00000-of-00001-0a1b.parquet"),
            ("README.md train.jsonl test.jsonl", None, "train.jsonl"),
            ("train.jsonl dev.jsonl val-2.jsonl", Some("validation"), "dev.jsonl val-2.jsonl"),
            ("data/my_training-1.csv data/evaluation.csv", None, "data/my_training-1.csv"),
            ("train/a.csv train/b.csv test/train.csv", None, "train/a.csv train/b.csv"),
            ("train/a.csv .cache/train/b.csv __x__/train/c.csv", None, "train/a.csv"),
            ("train.csv.gz train.txt", None, "train.csv.gz"),
            (
                "train.csv train.parquet",
                None,
                "DIR: a split in two formats: `train.csv` and `train.parquet`; name the file to read",
            ),
        ];
        for (listed, split, expected) in cases {
            assert_eq!(read(listed, "", [split, None]), expected, "{listed} {split:?}");
        }
    }

    #[test]
    fn other_folders_are_all_of_their_files() {
        let cases = [
            ("b.csv a.jsonl c.txt deep/d.jsonl", "a.jsonl b.csv c.txt"),
            ("README.md guide.md notes.txt", "README.md guide.md notes.txt"),
            ("README.md train.txt", "README.md train.txt"),
            ("README.md b.jsonl dataset_info.json", "b.jsonl"),
            ("README.md untrained.csv contest.csv", "contest.csv untrained.csv"),
            ("test.jsonl rows.jsonl", "rows.jsonl test.jsonl"),
            ("pairs.jsonl pairs.parquet", "pairs.jsonl"),
            ("README.md b.parquet a.parquet", "a.parquet b.parquet"),
            ("README.md data/b.parquet data/a.parquet", "data/a.parquet data/b.parquet"),
            ("image.png", "DIR: no .jsonl, .csv, .parquet, .txt or .md file in it"),
        ];
        for (listed, expected) in cases {
            assert_eq!(read(listed, "", [None, None]), expected, "{listed}");
        }
        assert_eq!(read("a.csv", "", [Some("train"), None]), "a.csv");
        assert_eq!(read("a.csv", "", [Some("dev"), None]), "DIR: no split `dev`: nothing in it speaks of splits");
        assert_eq!(
            read("a.csv", "", [None, Some("en")]),
            "DIR: no config `en`: there is no README.md with `configs` in it"
        );
    }

    #[test]
    fn a_card_says_which_files_are_which() {
        let listed = "README.md en/a.csv en/b.csv de/train.csv de/test.csv pairs.parquet pairs.jsonl changes.jsonl";
        let files = |split, path| format!("  data_files:\n  - split: {split}\n    path: {path}\n");
        let one = |files: String| format!("configs:\n- config_name: default\n{files}");
        let two = format!("configs:\n- config_name: en\n{}- config_name: de\n  data_dir: de\n", files("all", "en/*"));
        let cases = [
            (one(files("train", "pairs*.parquet")), None, None, "pairs.parquet"),
            (one(files("extra", "\"**/a.csv\"")), None, None, "en/a.csv"),
            (one("  data_dir: en\n".into()), None, None, "en/a.csv en/b.csv"),
            (two.clone(), None, Some("de"), "de/train.csv"),
            (two.clone(), Some("test"), Some("de"), "de/test.csv"),
            (two.clone(), Some("train"), Some("en"), "DIR: no split `train`; it has `all`"),
            (two, None, None, "DIR/README.md: choose one of its configs with `config`: `en`, `de`"),
            (
                one(files("train", "fr/*")),
                None,
                None,
                "DIR: README.md: no .jsonl, .csv, .parquet, .txt or .md file is `fr/*`",
            ),
        ];
        for (configs, split, config, expected) in cases {
            assert_eq!(read(listed, &configs, [split, config]), expected, "{configs}");
        }
    }
}
