//! The stages of the streaming benchmark (benches/peers/README.md says what they do), as a plugin.

use obvert_api::schemars::JsonSchema;
use obvert_api::serde::{Deserialize, Serialize};
use obvert_api::{Error, Group, Map, Nothing, Output, Record, Reply, plugin};

/// What every text begins with in the end.
pub const TAG: &str = "note: ";

/// A row of the input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(crate = "obvert_api::serde")]
pub struct Note {
    /// Unique.
    pub id: String,
    /// What it is grouped and joined by.
    pub key: String,
    /// Below 2^32.
    pub value: u32,
    /// Words, which one space parts.
    pub text: String,
    /// Their number, once they are counted.
    #[serde(default)]
    pub words: u32,
}

impl Record for Note {
    const NAME: &'static str = "Note";
}

/// A row of the dimensions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(crate = "obvert_api::serde")]
pub struct Dimension {
    /// What it is joined by.
    pub key: String,
    /// What values are multiplied by.
    pub weight: u32,
    /// A name.
    pub label: String,
}

impl Record for Dimension {
    const NAME: &'static str = "Dimension";
}

/// All notes of a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(crate = "obvert_api::serde")]
pub struct Tally {
    /// The key.
    pub key: String,
    /// Notes.
    pub count: u64,
    /// Sum of their values.
    pub sum: u64,
    /// Most words of one.
    pub max_words: u32,
    /// Code points of their texts.
    pub chars: u64,
}

impl Record for Tally {
    const NAME: &'static str = "Tally";
}

/// A note beside its dimension.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(crate = "obvert_api::serde")]
pub struct Weighed {
    /// The note's.
    pub id: String,
    /// The note's.
    pub key: String,
    /// The note's, times the weight.
    pub value: u64,
    /// The note's.
    pub text: String,
    /// The note's.
    pub words: u32,
    /// The dimension's.
    pub label: String,
}

impl Record for Weighed {
    const NAME: &'static str = "Weighed";
}

impl Note {
    /// Leaves it as it is.
    pub fn same(self) -> Note {
        self
    }

    /// Lowers the text.
    pub fn lower(mut self) -> Note {
        self.text = self.text.to_lowercase();
        self
    }

    /// Counts the words.
    pub fn count(mut self) -> Note {
        self.words = self.text.bytes().filter(|byte| *byte == b' ').count() as u32 + 1;
        self
    }

    /// Mixes the value with the number of words.
    pub fn mix(mut self) -> Note {
        self.value = self.value.wrapping_mul(3).wrapping_add(self.words);
        self
    }

    /// Puts the tag in front of the text.
    pub fn tag(mut self) -> Note {
        self.text.insert_str(0, TAG);
        self
    }

    /// Takes its dimension in.
    pub fn weigh(self, dimension: &Dimension) -> Weighed {
        let Note { id, key, value, text, words } = self;
        let value = u64::from(value) * u64::from(dimension.weight);
        Weighed { id, key, value, text, words, label: dimension.label.clone() }
    }
}

impl Tally {
    /// Of no notes yet.
    pub fn new(key: &str) -> Tally {
        Tally { key: key.to_string(), count: 0, sum: 0, max_words: 0, chars: 0 }
    }

    /// Takes a note in.
    pub fn add(&mut self, note: &Note) {
        self.count += 1;
        self.sum += u64::from(note.value);
        self.max_words = self.max_words.max(note.words);
        self.chars += note.text.chars().count() as u64;
    }
}

impl Weighed {
    /// What is summed up over all of them, modulo 2^64.
    pub fn number(&self) -> u64 {
        let lengths = [&self.id, &self.text, &self.label].map(|text| text.chars().count() as u64);
        lengths.iter().fold(self.value, |sum, length| sum.wrapping_add(*length))
    }
}

macro_rules! note_map {
    ($stage:ident, $name:literal, $method:ident) => {
        #[derive(Deserialize, JsonSchema)]
        #[serde(crate = "obvert_api::serde", deny_unknown_fields)]
        #[schemars(crate = "obvert_api::schemars")]
        struct $stage {}

        impl Map for $stage {
            const NAME: &'static str = $name;
            type In = Note;
            type Out = Note;

            fn map(&self, note: Note, _: &[Reply], out: &mut Output<Note>) -> Result<(), Error> {
                out.emit(note.$method());
                Ok(())
            }
        }
    };
}

note_map!(Pass, "note-pass", same);
note_map!(Lower, "note-lower", lower);
note_map!(Count, "note-count", count);
note_map!(Mix, "note-mix", mix);
note_map!(Tag, "note-tag", tag);

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "obvert_api::serde", deny_unknown_fields)]
#[schemars(crate = "obvert_api::schemars")]
struct Reduce {}

impl Group for Reduce {
    const NAME: &'static str = "note-reduce";
    type In = Note;
    type With = Nothing;
    type Out = Tally;

    fn key(&self, note: &Note) -> String {
        note.key.clone()
    }

    fn group(
        &self,
        key: &str,
        notes: Vec<Note>,
        _: Vec<Nothing>,
        _: &[Reply],
        out: &mut Output<Tally>,
    ) -> Result<(), Error> {
        let mut tally = Tally::new(key);
        notes.iter().for_each(|note| tally.add(note));
        out.emit(tally);
        Ok(())
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "obvert_api::serde", deny_unknown_fields)]
#[schemars(crate = "obvert_api::schemars")]
struct Join {}

impl Group for Join {
    const NAME: &'static str = "note-join";
    type In = Note;
    type With = Dimension;
    type Out = Weighed;
    const WITHIN_ROW: bool = true;

    fn key(&self, note: &Note) -> String {
        note.id.clone()
    }

    fn looks_up(&self, note: &Note) -> Option<String> {
        Some(note.key.clone())
    }

    fn with_key(&self, dimension: &Dimension) -> String {
        dimension.key.clone()
    }

    fn group(
        &self,
        _: &str,
        notes: Vec<Note>,
        dimensions: Vec<Dimension>,
        _: &[Reply],
        out: &mut Output<Weighed>,
    ) -> Result<(), Error> {
        let Some((last, others)) = dimensions.split_last() else { return Ok(()) };
        for note in notes {
            others.iter().for_each(|dimension| out.emit(note.clone().weigh(dimension)));
            out.emit(note.weigh(last));
        }
        Ok(())
    }
}

plugin!(Pass, Lower, Count, Mix, Tag, Reduce, Join);
