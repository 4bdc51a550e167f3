//! What the front matter of a data set's card says of its files: `configs`, as `datasets` reads it.

use std::io::ErrorKind;
use std::path::Path;

use saphyr::{LoadableYamlNode, Yaml};

/// The card of a folder.
pub(super) const NAME: &str = "README.md";

/// One configuration of a data set.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Config {
    /// The folder that its files are in, within the data set's.
    pub(super) folder: String,
    /// Each split's patterns; empty where the names of the files say which is which.
    pub(super) splits: Vec<(String, Vec<String>)>,
}

/// The configuration of that name, else the default one. Most cards have none.
///
/// # Errors
/// Says what of the card is not understood, or that it has no such configuration.
pub(super) fn config(folder: &Path, wanted: Option<&str>) -> Result<Option<Config>, String> {
    let path = folder.join(NAME);
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(|e| format!("{}: {e}", path.display())),
    };
    text.and_then(|text| of_card(&text, wanted).map_err(|cause| format!("{}: {cause}", path.display())))
}

fn of_card(card: &str, wanted: Option<&str>) -> Result<Option<Config>, String> {
    let front = front_matter(card).map_or_else(|| Ok(Vec::new()), Yaml::load_from_str);
    let front = front.map_err(|e| format!("the front matter is not YAML: {e}"))?;
    let Some(configs) = front.first().and_then(|front| front.as_mapping_get("configs")) else { return Ok(None) };
    let configs = configs.as_vec().ok_or("`configs` is not a list")?;
    let named = |config: &'_ Yaml<'_>| text_of(config, "config_name");
    let names = configs.iter().map(named).collect::<Option<Vec<_>>>().ok_or("a configuration has no `config_name`")?;
    let all = names.join("`, `");
    let found = match wanted {
        Some(name) => names.iter().position(|other| other == name).ok_or(format!("no config `{name}`; it has `{all}`")),
        None => default_of(configs, &names).ok_or(format!("choose one of its configs with `config`: `{all}`")),
    };
    found.and_then(|at| read(&configs[at]).map_err(|cause| format!("config `{}`: {cause}", names[at]))).map(Some)
}

/// The YAML between the two lines `---` that a card begins with.
fn front_matter(card: &str) -> Option<&str> {
    let body = card.trim_start_matches('\u{feff}').strip_prefix("---")?;
    let body = body.strip_prefix("\r\n").or_else(|| body.strip_prefix('\n'))?;
    body.find("\n---").map(|end| &body[..=end])
}

fn default_of(configs: &[Yaml], names: &[String]) -> Option<usize> {
    let marked =
        configs.iter().position(|config| config.as_mapping_get("default").and_then(Yaml::as_bool) == Some(true));
    marked.or_else(|| names.iter().position(|name| name == "default")).or((configs.len() == 1).then_some(0))
}

fn text_of(mapping: &Yaml, key: &str) -> Option<String> {
    mapping.as_mapping_get(key)?.as_str().map(str::to_owned)
}

fn read(config: &Yaml) -> Result<Config, String> {
    let folder = text_of(config, "data_dir").unwrap_or_default();
    let splits = config.as_mapping_get("data_files").map_or(Ok(Vec::new()), splits)?;
    Ok(Config { folder, splits })
}

/// Patterns without a split are those of `train`.
fn splits(files: &Yaml) -> Result<Vec<(String, Vec<String>)>, String> {
    if let Some(patterns) = patterns(files) {
        return Ok(vec![("train".into(), patterns)]);
    }
    let each = files.as_vec().and_then(|splits| splits.iter().map(split).collect());
    each.ok_or_else(|| "`data_files` is neither a path, nor a list of paths, nor a list of `split` and `path`".into())
}

fn split(entry: &Yaml) -> Option<(String, Vec<String>)> {
    Some((text_of(entry, "split")?, patterns(entry.as_mapping_get("path")?)?))
}

/// One path, or a list of them.
fn patterns(paths: &Yaml) -> Option<Vec<String>> {
    let plain = |path: &str| path.trim_start_matches("./").to_owned();
    match paths.as_str() {
        Some(path) => Some(vec![plain(path)]),
        None => paths.as_vec()?.iter().map(|path| path.as_str().map(plain)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The splits of a card whose front matter this is, as text.
    fn said(front: &str, wanted: Option<&str>) -> String {
        match of_card(&format!("---\n{front}---\n# Data\n"), wanted) {
            Ok(None) => "none".into(),
            Ok(Some(config)) => {
                let splits = config.splits.iter().map(|(split, patterns)| format!("{split}={}", patterns.join(",")));
                format!("{}:{}", config.folder, splits.collect::<Vec<_>>().join(" "))
            }
            Err(cause) => cause,
        }
    }

    #[test]
    fn configs_are_read_as_datasets_reads_them() {
        let two = "configs:\n- config_name: en\n  data_files: en.csv\n- config_name: de\n  data_dir: de\n";
        let marked = two.replace("en\n", "en\n  default: true\n");
        let several = "configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: [\"a/*\", './b/*']\n  - split: test\n    path: c.csv\n";
        let cases = [
            ("license: mit\n", None, "none"),
            ("configs:\n- config_name: x\n  data_files: data/*.csv # all\n", None, ":train=data/*.csv"),
            ("configs:\n- config_name: x\n  data_files:\n  - a.csv\n  - b.csv\n", Some("x"), ":train=a.csv,b.csv"),
            (several, None, ":train=a/*,b/* test=c.csv"),
            (two, Some("de"), "de:"),
            (&marked, None, ":train=en.csv"),
            (two, None, "choose one of its configs with `config`: `en`, `de`"),
            (two, Some("fr"), "no config `fr`; it has `en`, `de`"),
            ("configs: x\n", None, "`configs` is not a list"),
            ("configs:\n- data_files: x\n", None, "a configuration has no `config_name`"),
        ];
        for (front, wanted, expected) in cases {
            assert_eq!(said(front, wanted), expected, "{front}");
        }
        assert!(
            said("configs:\n- config_name: x\n  data_files:\n  - split: train\n", None)
                .starts_with("config `x`: `data_files`")
        );
        assert!(said("configs: [\n", None).starts_with("the front matter is not YAML: "));
    }

    #[test]
    fn a_text_without_front_matter_has_none() {
        for card in ["# Data", "---\nno end", "--- a line\n---\n", ""] {
            assert_eq!(of_card(card, None), Ok(None), "{card}");
        }
    }
}
