//! Stages that follow each other, run as one: a record is decoded where it enters and encoded where it leaves, and between
//! them it is handed on as it is.
//!
//! A chain only does what is plain. An item that a stage fails on, asks for something for, or says something of, is refused: whoever runs the chain
//! has it run stage by stage instead, which tells the stage and the cause.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::erased::{Erased, decode, encode_into};
use crate::{Error, Map, Output, Record};

/// Records of one type on their way, each with the number of the item that it comes of: a `Vec<(u32, R)>`.
pub type Values = Box<dyn Any>;

/// The keys of a record that goes to a group: its own, and that of the side records that it looks up.
pub type Keys<'a> = (&'a [u8], Option<&'a [u8]>);

/// Is told what comes of a batch's items, by their numbers.
pub trait Links {
    /// An item has to be run stage by stage; all else that is said of it does not count.
    fn refuse(&mut self, item: u32);
    /// A record that comes of an item; with keys where the chain leads to a group.
    fn record(&mut self, item: u32, record: &[u8], keys: Option<Keys<'_>>);
    /// How many records the first stage made of each item, then the second, and so on.
    fn made(&mut self, counts: &[u32]);
}

/// What became of a batch's items so far.
#[derive(Debug)]
pub struct Tally {
    refused: Vec<bool>,
    made: Vec<u32>,
}

impl Tally {
    fn of(items: usize, stages: usize) -> Self {
        Tally { refused: vec![false; items], made: Vec::with_capacity(items * stages) }
    }

    fn refuse(&mut self, item: u32) {
        self.refused[item as usize] = true;
    }

    /// A stage begins; where the counts of what it makes begin.
    fn stage(&mut self) -> usize {
        let from = self.made.len();
        self.made.resize(from + self.refused.len(), 0);
        from
    }

    fn tell(&self, links: &mut dyn Links) {
        links.made(&self.made);
        let refused = (0..).zip(&self.refused).filter(|(_, refused)| **refused);
        refused.for_each(|(item, _)| links.refuse(item));
    }
}

/// Runs maps one after the other on records; where they lead to a group, with its keys.
///
/// # Errors
/// One stage's records are not what the next one takes: they only have the same name.
pub fn run(
    maps: &[&dyn Erased],
    group: Option<&dyn Erased>,
    records: &[&[u8]],
    links: &mut dyn Links,
) -> Result<(), Error> {
    let parted = || Error::new("the stages do not belong together");
    let [first, ..] = maps else { return Err(Error::new("a chain of no maps")) };
    let last = group.unwrap_or(maps[maps.len() - 1]);
    let mut tally = Tally::of(records.len(), maps.len());
    let mut values = first.open(records, &mut tally).ok_or_else(parted)?;
    for map in maps {
        values = map.step(values, &mut tally).ok_or_else(parted)?;
    }
    last.close(values, &mut tally, links).ok_or_else(parted)?;
    tally.tell(links);
    Ok(())
}

/// Decodes the records that enter a chain.
pub(crate) fn open<R: Record>(records: &[&[u8]], tally: &mut Tally) -> Values {
    let mut values = Vec::with_capacity(records.len());
    for (item, record) in (0..).zip(records) {
        match decode::<R>(record) {
            Ok(value) => values.push((item, value)),
            Err(_) => tally.refuse(item),
        }
    }
    Box::new(values)
}

/// Runs a map on records that are decoded.
pub(crate) fn step<M: Map>(map: &M, values: Values, tally: &mut Tally) -> Option<Values> {
    let values = *values.downcast::<Vec<(u32, M::In)>>().ok()?;
    let from = tally.stage();
    let (mut made, mut out) = (Vec::with_capacity(values.len()), Output::default());
    for (item, value) in values {
        let done = catch_unwind(AssertUnwindSafe(|| map.map(value, &[], &mut out)));
        if !matches!(done, Ok(Ok(()))) || !out.requests.is_empty() || !out.logged.is_empty() {
            tally.refuse(item);
            out = Output::default();
        }
        tally.made[from + item as usize] += out.emitted.len() as u32;
        made.extend(out.emitted.drain(..).map(|record| (item, record)));
    }
    Some(Box::new(made))
}

/// Encodes the records that leave a chain; `keys` tells those that they have.
pub(crate) fn close<R: Record>(
    values: Values,
    keys: impl Fn(&R) -> Option<(String, Option<String>)>,
    tally: &mut Tally,
    links: &mut dyn Links,
) -> Option<()> {
    let mut bytes = Vec::new();
    for (item, value) in *values.downcast::<Vec<(u32, R)>>().ok()? {
        bytes.clear();
        if encode_into(&value, &mut bytes).is_err() {
            tally.refuse(item);
            continue;
        }
        let keys = keys(&value);
        let keys = keys.as_ref().map(|(key, wants)| (key.as_bytes(), wants.as_ref().map(String::as_bytes)));
        links.record(item, &bytes, keys);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::erased::{create_group, create_map, encode};
    use crate::{Group, Nothing, Reply, Request};

    #[derive(Serialize, Deserialize)]
    struct Number(u32);

    impl Record for Number {
        const NAME: &'static str = "Number";
    }

    /// Another type of the same name.
    #[derive(Serialize, Deserialize)]
    struct Impostor(u32);

    impl Record for Impostor {
        const NAME: &'static str = "Number";
    }

    /// Makes n records of n; fails on 7, asks on 8, panics on 9.
    #[derive(Deserialize, JsonSchema)]
    struct Repeat {}

    impl Map for Repeat {
        const NAME: &'static str = "repeat";
        type In = Number;
        type Out = Number;
        fn map(&self, Number(n): Number, _: &[Reply], out: &mut Output<Number>) -> Result<(), Error> {
            (0..n).for_each(|n| out.emit(Number(n)));
            match n {
                7 => Err(Error::new("seven")),
                8 => {
                    out.request(Request::new("m", Vec::new()));
                    Ok(())
                }
                9 => panic!("nine"),
                _ => Ok(()),
            }
        }
    }

    /// By whether they are even; odd ones look up "side".
    #[derive(Deserialize, JsonSchema)]
    struct Parity {}

    impl Group for Parity {
        const NAME: &'static str = "parity";
        type In = Number;
        type With = Nothing;
        type Out = Number;
        fn key(&self, Number(n): &Number) -> String {
            if n % 2 == 0 { "even" } else { "odd" }.into()
        }
        fn looks_up(&self, Number(n): &Number) -> Option<String> {
            (n % 2 == 1).then(|| "side".into())
        }
        fn group(
            &self,
            _: &str,
            _: Vec<Number>,
            _: Vec<Nothing>,
            _: &[Reply],
            _: &mut Output<Number>,
        ) -> Result<(), Error> {
            Ok(())
        }
    }

    #[derive(Deserialize, JsonSchema)]
    struct Foreign {}

    impl Map for Foreign {
        const NAME: &'static str = "foreign";
        type In = Impostor;
        type Out = Impostor;
        fn map(&self, _: Impostor, _: &[Reply], _: &mut Output<Impostor>) -> Result<(), Error> {
            Ok(())
        }
    }

    #[derive(Default)]
    struct Told {
        refused: Vec<u32>,
        made: Vec<u32>,
        /// Numbers and keys by item.
        records: BTreeMap<u32, Vec<String>>,
    }

    impl Links for Told {
        fn refuse(&mut self, item: u32) {
            self.refused.push(item);
        }
        fn record(&mut self, item: u32, record: &[u8], keys: Option<Keys<'_>>) {
            let Number(n) = decode(record).unwrap();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let keys = keys.map(|(key, wants)| (text(key), wants.map(text)));
            self.records.entry(item).or_default().push(format!("{n} {keys:?}"));
        }
        fn made(&mut self, counts: &[u32]) {
            self.made = counts.to_vec();
        }
    }

    fn told(maps: &[&dyn Erased], group: Option<&dyn Erased>, numbers: &[u32]) -> Result<Told, Error> {
        let records: Vec<_> = numbers.iter().map(|n| encode(&Number(*n)).unwrap()).collect();
        let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        let mut told = Told::default();
        run(maps, group, &records, &mut told).map(|()| told)
    }

    #[test]
    fn records_pass_all_stages_and_are_counted_at_each() {
        let (map, group) =
            (create_map::<Repeat>(&serde_json::json!({})), create_group::<Parity>(&serde_json::json!({})));
        let (map, group) = (map.unwrap(), group.unwrap());
        let found = told(&[&*map, &*map], Some(&*group), &[3, 0, 1]).unwrap();
        // 3 becomes 0, 1, 2 and they become nothing, 0, and 0 and 1.
        assert_eq!(found.made, [3, 0, 1, 3, 0, 0]);
        let (even, odd) = ("0 Some((\"even\", None))", "1 Some((\"odd\", Some(\"side\")))");
        assert_eq!(found.records, BTreeMap::from([(0, vec![even.into(), even.into(), odd.into()])]));
        assert!(found.refused.is_empty());
        let found = told(&[&*map], None, &[2]).unwrap();
        assert_eq!(found.records, BTreeMap::from([(0, vec!["0 None".into(), "1 None".into()])]));
    }

    #[test]
    fn what_is_not_plain_is_refused() {
        let map = create_map::<Repeat>(&serde_json::json!({})).unwrap();
        let found = told(&[&*map], None, &[7, 1, 8, 9]).unwrap();
        assert_eq!(found.refused, [0, 2, 3]);
        assert_eq!(found.records.keys().collect::<Vec<_>>(), [&1]);
        let mut found = Told::default();
        run(&[&*map], None, &[&[251]], &mut found).unwrap();
        assert_eq!((found.refused, found.made), (vec![0], vec![0]));
    }

    #[test]
    fn types_that_only_share_a_name_do_not_make_a_chain() {
        let map = create_map::<Repeat>(&serde_json::json!({})).unwrap();
        let foreign = create_map::<Foreign>(&serde_json::json!({})).unwrap();
        assert!(told(&[&*map, &*foreign], None, &[]).is_err() && told(&[&*foreign, &*map], None, &[]).is_err());
        assert!(told(&[], None, &[]).is_err());
    }
}
