//! Random edits of the rows of two sources.

use obvert_trainer::random::SplitMix64;
use serde_json::json;

use crate::pipeline::SOURCES;

/// The lines of each source.
pub type Lines = [Vec<String>; 2];

pub struct Script {
    pub random: SplitMix64,
    pub lines: Lines,
    /// Rows made so far: each gets an id of its own.
    made: u32,
    /// Whether the model knows an answer to all rows.
    pub knows_all: bool,
    /// Whether several rows may have one id: not where records of an id are those of a row.
    repeats: bool,
}

impl Script {
    pub fn new(seed: u64, repeats: bool, knows_all: bool) -> Self {
        let mut script = Script { random: SplitMix64(seed), lines: Default::default(), made: 0, knows_all, repeats };
        for source in 0..SOURCES.len() {
            for _ in 0..script.random.below(9) {
                let row = script.row(source);
                script.lines[source].push(row);
            }
        }
        script
    }

    fn row(&mut self, source: usize) -> String {
        self.made += 1;
        let id = format!("{}{}", SOURCES[source], self.made);
        self.row_of(&id)
    }

    fn row_of(&mut self, id: &str) -> String {
        let key = if !self.knows_all && self.random.below(10) == 0 { 9 } else { self.random.below(4) };
        json!({ "id": id, "key": format!("k{key}"), "value": self.random.below(1000) }).to_string()
    }

    /// A line that is no row, or no toy.
    fn damaged(&mut self) -> String {
        self.made += 1;
        if self.random.below(2) == 0 {
            format!("{{damaged {}", self.made)
        } else {
            json!({ "id": self.made }).to_string()
        }
    }

    /// Inserts, replaces, deletes, repeats, damages or moves rows of a source, which it names.
    pub fn edit(&mut self) -> usize {
        let source = self.random.below(SOURCES.len());
        let count = self.lines[source].len();
        match (self.random.below(8), count) {
            (0..=2, _) | (_, 0) => {
                let (row, at) = (self.row(source), self.random.below(count + 1));
                self.lines[source].insert(at, row);
            }
            (3 | 4, _) => self.replace(source),
            (5, _) => drop(self.lines[source].remove(self.random.below(count))),
            (6, _) if self.repeats => {
                let row = self.lines[source][self.random.below(count)].clone();
                self.lines[source].push(row);
            }
            (6, _) => {
                let row = self.damaged();
                self.lines[source].push(row);
            }
            _ => self.random.shuffle(&mut self.lines[source]),
        }
        source
    }

    /// Another row under the same id.
    fn replace(&mut self, source: usize) {
        let at = self.random.below(self.lines[source].len());
        let row: Option<serde_json::Value> = serde_json::from_str(&self.lines[source][at]).ok();
        let id = row.as_ref().and_then(|row| row["id"].as_str().map(str::to_owned));
        self.lines[source][at] = match id {
            Some(id) => self.row_of(&id),
            None => self.damaged(),
        };
    }
}
