//! `--set PATH=VALUE`: a key of the pipeline written on the command line.

use toml::de::DeValue;

use super::hint::{hint, is_misspelt};
use super::place::Place;
use super::report::Problem;
use super::tree::{Entry, Node, Table, Value, read_node};

/// Applies the argument of that index.
pub(super) fn apply(root: &mut Table, index: usize, argument: &str) -> Result<(), Problem> {
    let place = Place::Argument(index);
    let form = "write NAME.KEY=VALUE for a stage, or a full path such as run.workers=2".to_owned();
    let malformed = |message: String| Problem::new(&place, message).help(form.clone());
    let (path, value) = argument.split_once('=').ok_or_else(|| malformed("the argument has no `=`".to_owned()))?;
    let keys: Vec<&str> = path.split('.').map(str::trim).collect();
    if keys.contains(&"") {
        return Err(malformed(format!("`{path}` names no key")));
    }
    let keys = full_path(root, &place, &keys)?;
    insert(root, &place, &keys, read(index, value))
}

/// The value as TOML, or else as a string: shells make quotes tiresome.
fn read(index: usize, text: &str) -> Node {
    let place = |_| Place::Argument(index);
    let parsed = DeValue::parse(text).ok().map(|value| read_node(&value, &place));
    let fit = parsed.filter(|node| !matches!(node.value, Value::Unfit(_)));
    fit.unwrap_or_else(|| Node { place: Place::Argument(index), value: Value::String(text.to_owned()) })
}

/// The path from the file's root: a first key that is none of the file's own words is the name of a stage.
fn full_path<'k>(root: &Table, place: &Place, keys: &[&'k str]) -> Result<Vec<&'k str>, Problem> {
    match keys {
        ["name" | "plugins"] | ["run", _, ..] => Ok(keys.to_vec()),
        [sort @ ("stage" | "model"), name, _, ..] => known(root, place, sort, name).map(|()| keys.to_vec()),
        [name, _, ..] if !matches!(*name, "name" | "plugins" | "stage" | "model") => {
            known(root, place, "stage", name)?;
            Ok([&["stage"], keys].concat())
        }
        _ => Err(Problem::new(place, format!("`{}` is not a setting", keys.join(".")))
            .help("name the key to set, such as run.workers or stage.NAME.KEY".to_owned())),
    }
}

/// Refuses a name that no `[sort.NAME]` table has.
fn known(root: &Table, place: &Place, sort: &str, name: &str) -> Result<(), Problem> {
    let tables = root.table(sort);
    if tables.and_then(|tables| tables.table(name)).is_some() {
        return Ok(());
    }
    let names = tables.into_iter().flat_map(Table::keys);
    let help = elsewhere(root, name).or_else(|| hint(name, names, &format!("the {sort}s are")));
    Err(Problem::new(place, format!("no {sort} is called `{name}`")).help(help))
}

/// A hint at what is no stage but was written like one.
fn elsewhere(root: &Table, name: &str) -> Option<String> {
    let model = root.table("model").and_then(|models| models.get(name)).map(|_| format!("model.{name}"));
    let meant = model.or_else(|| is_misspelt(name, "run").then(|| "run".to_owned()))?;
    Some(format!("did you mean `{meant}`?"))
}

/// Puts `node` where `keys` lead, making tables on the way.
fn insert(table: &mut Table, place: &Place, keys: &[&str], node: Node) -> Result<(), Problem> {
    let Some((first, rest)) = keys.split_first() else {
        return Ok(());
    };
    if rest.is_empty() {
        table.0.retain(|entry| entry.key != *first);
        table.0.push(Entry { key: (*first).to_owned(), key_place: place.clone(), node });
        return Ok(());
    }
    match &mut entry(table, place, first).node.value {
        Value::Table(inner) => insert(inner, place, rest, node),
        _ => Err(Problem::new(place, format!("`{first}` is not a table, so it has no `{}`", rest.join(".")))),
    }
}

/// The entry of that key; a new one holds an empty table.
fn entry<'t>(table: &'t mut Table, place: &Place, key: &str) -> &'t mut Entry {
    let index = table.0.iter().position(|entry| entry.key == key).unwrap_or_else(|| {
        let node = Node { place: place.clone(), value: Value::Table(Table::default()) };
        table.0.push(Entry { key: key.to_owned(), key_place: place.clone(), node });
        table.0.len() - 1
    });
    &mut table.0[index]
}
