//! A stage in another language: its records are JSON texts, so what goes to it is written as JSON and what it makes is read again.

use obvert_api::erased::Kind;
use obvert_api::frame::{decode_invocation, encode_invocation};
use obvert_api::record::{Standard, Translate, standard};
use obvert_api::{Error, Manifest, Operation, Outcome, Port};

use super::{Runner, Work};

/// The record types of a stage.
#[derive(Clone, Copy, Debug)]
pub(super) struct Types {
    kind: Kind,
    input: Standard,
    with: Option<Standard>,
    output: Standard,
}

impl Types {
    /// Those that a manifest names.
    ///
    /// # Errors
    /// They are not all of the program's own.
    pub(super) fn of(manifest: &Manifest) -> Result<Self, String> {
        let known = |port: &str, name: &str| standard(name).map_err(|error| format!("its {port}: {error}"));
        Ok(Types {
            kind: manifest.kind,
            input: known("input", &manifest.input)?,
            with: manifest.with.as_deref().map(|name| known("with", name)).transpose()?,
            output: known("output", &manifest.output)?,
        })
    }

    fn of_port(&self, port: Port) -> Result<Standard, Error> {
        match port {
            Port::In => Ok(self.input),
            Port::With => self.with.ok_or_else(|| Error::new("it has no side input")),
            Port::Out => Ok(self.output),
        }
    }

    /// An item with its records as JSON.
    fn item(&self, item: &[u8]) -> Result<Vec<u8>, Error> {
        if self.kind == Kind::Map {
            return (self.input.to_json)(item);
        }
        let group = decode_invocation(item)?;
        let all =
            |records: Vec<&[u8]>, to_json: Translate| records.into_iter().map(to_json).collect::<Result<Vec<_>, _>>();
        let records = all(group.records.iter().collect(), self.input.to_json)?;
        let with =
            self.with.map(|with| all(group.with.iter().collect(), with.to_json)).transpose()?.unwrap_or_default();
        encode_invocation(group.key, &lent(&records), &lent(&with), &[])
    }

    /// What came of an item, with its records as they are between stages.
    fn outcome(&self, outcome: Outcome) -> Result<Outcome, Error> {
        let read = |record: &[u8]| (self.output.from_json)(record).map(Into::into);
        let records = outcome.records.iter().map(|record| read(record)).collect::<Result<_, _>>();
        let records = records.map_err(|error: Error| Error(format!("it made what is {error}")))?;
        Ok(Outcome { records, ..outcome })
    }
}

fn lent(records: &[Vec<u8>]) -> Vec<&[u8]> {
    records.iter().map(Vec::as_slice).collect()
}

/// Runs it.
pub(super) struct Foreign<R> {
    pub(super) types: Types,
    pub(super) stage: R,
}

impl<R: Runner> Foreign<R> {
    /// Hands on what can be written as JSON; the rest has failed.
    fn handed_on(
        &self,
        items: Vec<Result<Vec<u8>, Error>>,
        hand_on: impl FnOnce(&[&[u8]]) -> Vec<Result<Outcome, Error>>,
    ) -> Vec<Result<Outcome, Error>> {
        let texts: Vec<&[u8]> = items.iter().flatten().map(Vec::as_slice).collect();
        let mut answers = hand_on(&texts).into_iter();
        let answer = |item: &Result<Vec<u8>, Error>| match item {
            Ok(_) => answers.next().unwrap_or_else(|| Err(Error::new("the stage gave no answer"))),
            Err(error) => Err(error.clone()),
        };
        items.iter().map(answer).collect()
    }

    fn translated(translate: Translate, records: &[&[u8]]) -> Vec<Result<Outcome, Error>> {
        let outcome =
            |record: Vec<u8>| Outcome { records: [record.into()].into_iter().collect(), requests: Vec::new() };
        records.iter().map(|record| translate(record).map(outcome)).collect()
    }
}

impl<R: Runner> Runner for Foreign<R> {
    fn run(&self, batch: &[Work<'_>]) -> Vec<Result<Outcome, Error>> {
        let items: Vec<_> = batch.iter().map(|work| self.types.item(work.item)).collect();
        let replies: Vec<_> =
            batch.iter().zip(&items).filter(|(_, item)| item.is_ok()).map(|(work, _)| work.replies).collect();
        let answers = self.handed_on(items, |texts| {
            let work = texts.iter().zip(replies).map(|(item, replies)| Work { item, replies });
            self.stage.run(&work.collect::<Vec<_>>())
        });
        answers.into_iter().map(|answer| answer.and_then(|outcome| self.types.outcome(outcome))).collect()
    }

    fn ask(&self, operation: Operation, records: &[&[u8]]) -> Vec<Result<Outcome, Error>> {
        let types = match operation {
            Operation::Key => self.types.of_port(Port::In),
            Operation::WithKey => self.types.of_port(Port::With),
            Operation::ToJson(port) | Operation::FromJson(port) => self.types.of_port(port),
            Operation::Run | Operation::Chain => Err(Error::new("it has no such operation")),
        };
        match (types, operation) {
            (Err(error), _) => records.iter().map(|_| Err(error.clone())).collect(),
            (Ok(types), Operation::ToJson(_)) => Self::translated(types.to_json, records),
            (Ok(types), Operation::FromJson(_)) => Self::translated(types.from_json, records),
            (Ok(types), _) => {
                let items = records.iter().map(|record| (types.to_json)(record)).collect();
                self.handed_on(items, |texts| self.stage.ask(operation, texts))
            }
        }
    }
}
