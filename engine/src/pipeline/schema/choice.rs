//! `anyOf` and `oneOf`: which alternative a value was meant to be, so that its errors are the ones reported.

use serde_json::Value as Json;

use super::super::report::Problem;
use super::super::tree::{Node, Table};
use super::{MAX_DEPTH, Settings, join, leaf, members};

/// A problem, or the alternative to check against: `None` where nothing is left to check.
type Choice<'a> = Result<Option<&'a Json>, Box<Problem>>;

impl<'a> Settings<'a> {
    /// The branch that a value was meant to be: `Some(None)` if there is nothing to choose, `None` if none fits, which
    /// is then reported. `outer` holds the schemas that apply besides.
    pub(super) fn choose(
        &self,
        node: &Node,
        branches: &[&'a Json],
        name: &str,
        depth: usize,
        outer: &[&'a Json],
        problems: &mut Vec<Problem>,
    ) -> Option<Option<&'a Json>> {
        // TOML has no null: an `Option` is its other branch.
        let branches: Vec<&Json> =
            branches.iter().copied().filter(|branch| self.types(branch, 0) != ["null"]).collect();
        let fitting = branches.iter().copied().filter(|branch| leaf::is_one_of(node, &self.types(branch, 0)));
        let choice = match (branches.as_slice(), fitting.collect::<Vec<_>>().as_slice()) {
            ([], _) => Ok(None),
            ([one], _) | (_, [one]) => Ok(Some(*one)),
            (_, []) => Err(Box::new(leaf::mismatch(node, &self.all_types(&branches), name))),
            (_, several) => (literal(node, several, name))
                .or_else(|| self.tagged(node.table()?, node, several, name))
                .or_else(|| self.keyed(node.table()?, node, several, name))
                .unwrap_or_else(|| Ok(self.probe(node, several, name, depth, outer))),
        };
        choice.map_err(|problem| problems.push(*problem)).ok()
    }

    /// The types that a schema allows, its references and alternatives included; empty for any.
    fn types(&self, schema: &'a Json, depth: usize) -> Vec<&'a str> {
        let own = leaf::types(schema);
        if !own.is_empty() || depth > MAX_DEPTH {
            return own;
        }
        if let Some(target) = self.target(schema) {
            return self.types(target, depth + 1);
        }
        let branches: Vec<_> = ["anyOf", "oneOf"].iter().flat_map(|keyword| members(schema, keyword)).collect();
        let types: Vec<_> = branches.iter().map(|branch| self.types(branch, depth + 1)).collect();
        if types.iter().any(Vec::is_empty) { Vec::new() } else { unique(types.concat()) }
    }

    fn all_types(&self, branches: &[&'a Json]) -> Vec<&'a str> {
        unique(branches.iter().flat_map(|branch| self.types(branch, 0)).collect())
    }

    /// Alternatives told apart by the value of one key (an internally tagged enum).
    fn tagged(&self, table: &Table, node: &Node, branches: &[&'a Json], name: &str) -> Option<Choice<'a>> {
        let first = branches.first()?.get("properties")?.as_object()?;
        let tag = first.keys().find(|key| branches.iter().all(|branch| self.tag(branch, key).is_some()))?;
        let values: Vec<&Json> = branches.iter().filter_map(|branch| self.tag(branch, tag)).collect();
        let Some(entry) = table.get(tag) else {
            let missing = Problem::new(&node.place, format!("{} needs the setting `{tag}`", self.called(name)));
            return Some(Err(Box::new(missing.help(format!("it can be: {}", leaf::named(&values))))));
        };
        let found = entry.node.json();
        let meant = branches.iter().copied().find(|branch| self.tag(branch, tag) == Some(&found));
        Some(meant.map(Some).ok_or_else(|| Box::new(leaf::not_allowed(&entry.node, &values, &join(name, tag)))))
    }

    /// The only value that a branch allows for a key.
    fn tag(&self, branch: &'a Json, key: &str) -> Option<&'a Json> {
        let property = branch.get("properties")?.get(key)?;
        match leaf::literals(property).as_slice() {
            [one] => Some(*one),
            _ => None,
        }
    }

    /// Alternatives told apart by their only key (an externally tagged enum).
    fn keyed(&self, table: &Table, node: &Node, branches: &[&'a Json], name: &str) -> Option<Choice<'a>> {
        let keys: Option<Vec<&Json>> = branches.iter().map(|branch| only_key(branch)).collect();
        let keys = keys?;
        let present = |key: &Json| key.as_str().is_some_and(|key| table.get(key).is_some());
        let meant = keys.iter().position(|key| present(key)).and_then(|index| branches.get(index).copied());
        Some(meant.map(Some).ok_or_else(|| {
            let message = format!("{} needs one of the settings {}", self.called(name), leaf::named(&keys));
            Box::new(Problem::new(&node.place, message))
        }))
    }

    /// The branch with the fewest errors.
    fn probe(
        &self,
        node: &Node,
        branches: &[&'a Json],
        name: &str,
        depth: usize,
        outer: &[&'a Json],
    ) -> Option<&'a Json> {
        branches.iter().copied().min_by_key(|branch| {
            let (mut parts, mut problems) = (outer.to_vec(), Vec::new());
            if self.expand(node, branch, name, depth + 1, &mut parts, &mut problems) {
                self.evaluate(node, &parts, name, &mut problems);
            }
            problems.len()
        })
    }
}

/// Alternatives that are all lists of values.
fn literal<'a>(node: &Node, branches: &[&'a Json], name: &str) -> Option<Choice<'a>> {
    let lists: Vec<Vec<&Json>> = branches.iter().map(|branch| leaf::literals(branch)).collect();
    if lists.iter().any(Vec::is_empty) {
        return None;
    }
    let allowed = lists.concat();
    Some(if allowed.contains(&&node.json()) {
        Ok(None)
    } else {
        Err(Box::new(leaf::not_allowed(node, &allowed, name)))
    })
}

/// The key of a table that must have one and can have no other.
fn only_key(branch: &Json) -> Option<&Json> {
    match (members(branch, "required").collect::<Vec<_>>().as_slice(), branch.get("properties")?.as_object()?.len()) {
        ([key], 1) => Some(*key),
        _ => None,
    }
}

fn unique(mut types: Vec<&str>) -> Vec<&str> {
    types.sort_unstable();
    types.dedup();
    types
}
