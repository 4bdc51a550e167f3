//! Stages that do a little of everything to small records, for tests of whole pipelines.

use obvert_api::record::Message;
use obvert_api::schemars::JsonSchema;
use obvert_api::serde::{Deserialize, Serialize};
use obvert_api::{Error, Group, Json, Map, ModelName, Output, Reply, Request, plugin, serde_json};

/// What the stages read their records as.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(crate = "obvert_api::serde")]
pub struct Toy {
    /// What is derived from a row keeps its id.
    pub id: String,
    /// What it is gathered by.
    pub key: String,
    /// A number that decides what becomes of it.
    pub value: u32,
    /// What models and side records said about it, and what it was gathered from.
    #[serde(default)]
    pub said: Vec<String>,
}

impl Toy {
    /// A record as a toy.
    pub fn read(json: &Json) -> Result<Toy, Error> {
        serde_json::from_value(json.0.clone()).map_err(|e| Error::new(format!("not a toy: {e}")))
    }

    fn write(self) -> Result<Json, Error> {
        serde_json::to_value(self).map(Json).map_err(Error::new)
    }

    fn shown(&self) -> String {
        format!("{}:{}", self.id, self.value)
    }
}

/// What a model is asked about a key.
pub fn question(key: &str, value: u32) -> String {
    format!("what of {key} {}", value % 20)
}

/// What is remembered of an answer.
pub fn remembered(question: &str, answer: &str) -> String {
    format!("{question}? {answer}")
}

/// Adds to the value, and then refuses the record, drops it, doubles it or copies it by what the value is.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "obvert_api::serde", deny_unknown_fields)]
#[schemars(crate = "obvert_api::schemars")]
pub struct Shift {
    /// What is added.
    pub by: u32,
}

impl Map for Shift {
    const NAME: &'static str = "toy-shift";
    type In = Json;
    type Out = Json;

    fn map(&self, json: Json, _: &[Reply], out: &mut Output<Json>) -> Result<(), Error> {
        let mut toy = Toy::read(&json)?;
        toy.value = (toy.value + self.by) % 1000;
        match toy.value % 10 {
            0 => return Err(Error::new(format!("{} is not liked", toy.shown()))),
            1 => return Ok(()),
            2 => out.emit(Toy { value: toy.value + 500, ..toy.clone() }.write()?),
            3 => out.emit(toy.clone().write()?),
            _ => {}
        }
        out.emit(toy.write()?);
        Ok(())
    }
}

/// Asks a model what it says.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "obvert_api::serde", deny_unknown_fields)]
#[schemars(crate = "obvert_api::schemars")]
pub struct Ask {
    /// The model.
    pub model: ModelName,
}

impl Map for Ask {
    const NAME: &'static str = "toy-ask";
    type In = Json;
    type Out = Json;

    fn map(&self, json: Json, replies: &[Reply], out: &mut Output<Json>) -> Result<(), Error> {
        let mut toy = Toy::read(&json)?;
        let question = question(&toy.key, toy.value);
        match replies {
            [] => out.request(Request::new(&self.model.0, vec![Message::new("user", question)])),
            [reply, ..] => {
                toy.said.push(remembered(&question, &reply.text));
                out.emit(toy.write()?);
            }
        }
        Ok(())
    }
}

/// Makes one record of all that have a key, wherever they come from.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "obvert_api::serde", deny_unknown_fields)]
#[schemars(crate = "obvert_api::schemars")]
pub struct Gather {
    /// What the ids of its records begin with.
    pub name: String,
}

impl Group for Gather {
    const NAME: &'static str = "toy-gather";
    type In = Json;
    type With = Json;
    type Out = Json;

    fn key(&self, json: &Json) -> String {
        key(json)
    }

    fn looks_up(&self, json: &Json) -> Option<String> {
        Some(key(json))
    }

    fn with_key(&self, json: &Json) -> String {
        key(json)
    }

    fn group(
        &self,
        key: &str,
        records: Vec<Json>,
        with: Vec<Json>,
        _: &[Reply],
        out: &mut Output<Json>,
    ) -> Result<(), Error> {
        let Together { toys, value, sides } = together(&records, &with)?;
        let id = format!("{} {key}", self.name);
        if value % 10 == 9 {
            return Err(Error::new(format!("{id}:{value} is not liked")));
        }
        let said = toys.iter().flat_map(|toy| toy.said.iter().cloned().chain([toy.shown()])).chain(sides);
        out.emit(Toy { id, key: format!("k{}", value % 3), value, said: sorted(said) }.write()?);
        Ok(())
    }
}

/// Makes one record of those of a row, and asks a model about it.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "obvert_api::serde", deny_unknown_fields)]
#[schemars(crate = "obvert_api::schemars")]
pub struct Collect {
    /// The model.
    pub model: ModelName,
}

impl Group for Collect {
    const NAME: &'static str = "toy-collect";
    type In = Json;
    type With = Json;
    type Out = Json;
    const WITHIN_ROW: bool = true;

    fn key(&self, json: &Json) -> String {
        Toy::read(json).map_or_else(|_| json.0.to_string(), |toy| toy.id)
    }

    fn looks_up(&self, json: &Json) -> Option<String> {
        Some(key(json))
    }

    fn with_key(&self, json: &Json) -> String {
        key(json)
    }

    fn group(
        &self,
        id: &str,
        records: Vec<Json>,
        with: Vec<Json>,
        replies: &[Reply],
        out: &mut Output<Json>,
    ) -> Result<(), Error> {
        let Together { toys, value, sides } = together(&records, &with)?;
        let key = toys.iter().map(|toy| toy.key.clone()).min().unwrap_or_default();
        let question = question(&key, value);
        let [reply, ..] = replies else {
            out.request(Request::new(&self.model.0, vec![Message::new("user", question)]));
            return Ok(());
        };
        let said = toys.iter().flat_map(|toy| toy.said.clone()).chain(sides);
        let said = sorted(said.chain([remembered(&question, &reply.text)]));
        out.emit(Toy { id: id.to_string(), key, value, said }.write()?);
        Ok(())
    }
}

/// What is no toy stands alone.
fn key(json: &Json) -> String {
    Toy::read(json).map_or_else(|_| json.0.to_string(), |toy| toy.key)
}

/// A group's records, the sum of their values, and what is said of its side records.
struct Together {
    toys: Vec<Toy>,
    value: u32,
    sides: Vec<String>,
}

fn together(records: &[Json], with: &[Json]) -> Result<Together, Error> {
    let read = |records: &[Json]| records.iter().map(Toy::read).collect::<Result<Vec<_>, _>>();
    let toys = read(records)?;
    let value = toys.iter().map(|toy| toy.value).sum::<u32>() % 1000;
    let sides = read(with)?.iter().map(|side| format!("beside {}", side.shown())).collect();
    Ok(Together { toys, value, sides })
}

fn sorted(said: impl Iterator<Item = String>) -> Vec<String> {
    let mut said: Vec<_> = said.collect();
    said.sort();
    said
}

plugin!(Shift, Ask, Gather, Collect);
