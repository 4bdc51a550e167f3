//! `grid = { lr = [1e-3, 2e-3] }` in a stage: one stage for every combination of the values, named after them (`NAME-lr-1e-3`). A stage
//! whose `from` or `with` names it means all of them.

use super::place::Place;
use super::report::Problem;
use super::tree::{Entry, Node, Table, Value};

const GRID: &str = "grid";

/// Puts stages in the place of those with a grid.
pub(super) fn expand(root: &mut Table) -> Vec<Problem> {
    let stages = root.0.iter_mut().find(|entry| entry.key == "stage");
    let Some(Value::Table(stages)) = stages.map(|entry| &mut entry.node.value) else {
        return Vec::new();
    };
    let (mut all, mut made, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for entry in stages.0.drain(..) {
        match variants(&entry) {
            None => all.push(entry),
            Some(Err(problem)) => problems.push(problem),
            Some(Ok(variants)) => {
                made.push((entry.key, variants.iter().map(|variant| variant.key.clone()).collect()));
                all.extend(variants);
            }
        }
    }
    problems.extend(twice(&all));
    all.iter_mut().for_each(|entry| rewire(entry, &made));
    stages.0 = all;
    problems
}

/// The stages that a stage's grid makes of it, if it has one.
fn variants(stage: &Entry) -> Option<Result<Vec<Entry>, Problem>> {
    let table = stage.node.table()?;
    let grid = table.get(GRID)?;
    let plain = Entry {
        node: Node { place: stage.node.place.clone(), value: Value::Table(table.without(&[GRID])) },
        ..stage.clone()
    };
    Some(axes(grid, table).and_then(|axes| {
        axes.into_iter().try_fold(vec![plain], |made, (axis, values)| {
            let all = made.iter().flat_map(|stage| values.iter().map(move |value| with(stage, axis, value)));
            all.collect()
        })
    }))
}

/// The settings of a grid, each with its values; the stage says none of them itself.
fn axes<'g>(grid: &'g Entry, stage: &Table) -> Result<Vec<(&'g Entry, &'g [Node])>, Problem> {
    let table = grid.node.table().filter(|table| !table.is_empty()).ok_or_else(|| no_grid(&grid.node.place))?;
    if let Some(entry) = stage.0.iter().find(|entry| table.get(&entry.key).is_some()) {
        return Err(Problem::new(&entry.key_place, format!("`{0}` is set beside `grid.{0}`", entry.key)));
    }
    table.0.iter().map(axis).collect()
}

fn axis(entry: &Entry) -> Result<(&Entry, &[Node]), Problem> {
    match &entry.node.value {
        Value::Array(values) if !values.is_empty() => Ok((entry, values.as_slice())),
        _ => Err(no_grid(&entry.node.place)),
    }
}

fn no_grid(place: &Place) -> Problem {
    let message = "`grid` is a table of settings, each with a list of values".to_owned();
    Problem::new(place, message).help(Some("such as grid = { lr = [1e-3, 2e-3] }".to_owned()))
}

/// The stage with one setting more, in its name too.
fn with(stage: &Entry, axis: &Entry, value: &Node) -> Result<Entry, Problem> {
    let said = word(value)
        .ok_or_else(|| Problem::new(&value.place, format!("`grid.{}` takes numbers, booleans and words", axis.key)))?;
    let mut table = stage.node.table().cloned().unwrap_or_default();
    table.0.push(Entry { node: value.clone(), ..axis.clone() });
    let node = Node { place: stage.node.place.clone(), value: Value::Table(table) };
    Ok(Entry { key: format!("{}-{}-{said}", stage.key, axis.key), key_place: stage.key_place.clone(), node })
}

/// A value as it stands in a name: 0.004 is `4e-3`, 0.25 `25e-2`.
fn word(value: &Node) -> Option<String> {
    match &value.value {
        Value::String(text) => Some(text.clone()),
        Value::Boolean(boolean) => Some(boolean.to_string()),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(0.0) => Some("0".to_owned()),
            Some(real) => Some(whole(&format!("{real:e}"))),
            None => Some(number.to_string()),
        },
        _ => None,
    }
}

/// `2.5e-1` as `25e-2`: a name has no dot.
fn whole(real: &str) -> String {
    let parts =
        real.split_once('e').and_then(|(digits, power)| Some((digits.split_once('.')?, power.parse::<i32>().ok()?)));
    parts.map_or_else(|| real.to_owned(), |((one, rest), power)| format!("{one}{rest}e{}", power - rest.len() as i32))
}

/// Names that several stages have now.
fn twice(stages: &[Entry]) -> impl Iterator<Item = Problem> {
    let known = |(at, entry): &(usize, &Entry)| stages[..*at].iter().any(|other| other.key == entry.key);
    stages.iter().enumerate().filter(known).map(|(_, entry)| {
        Problem::new(&entry.key_place, format!("its grid makes a second stage of the name `{}`", entry.key))
    })
}

/// Inputs that name a stage with a grid name what was made of it.
fn rewire(stage: &mut Entry, made: &[(String, Vec<String>)]) {
    let Value::Table(table) = &mut stage.node.value else { return };
    for entry in table.0.iter_mut().filter(|entry| matches!(entry.key.as_str(), "from" | "with")) {
        let items = match &entry.node.value {
            Value::Array(items) => items.clone(),
            _ => vec![entry.node.clone()],
        };
        let names = |item: &Node| made.iter().find(|(name, _)| item.text() == Some(name)).map(|(_, names)| names);
        if items.iter().any(|item| names(item).is_some()) {
            let named = |item: Node| match names(&item) {
                Some(names) => {
                    names.iter().map(|name| Node { value: Value::String(name.clone()), ..item.clone() }).collect()
                }
                None => vec![item],
            };
            entry.node.value = Value::Array(items.into_iter().flat_map(named).collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::whole;

    #[test]
    fn a_number_stands_in_a_name_without_a_dot() {
        let name = |real: f64| whole(&format!("{real:e}"));
        assert_eq!([0.25, 1e-3, 1.5e-3, 12.5].map(name), ["25e-2", "1e-3", "15e-4", "125e-1"]);
    }
}
