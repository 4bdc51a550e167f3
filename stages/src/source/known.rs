//! Reads the record of a row, and in passing what the row is known by: to read a row twice is what reading costs most.

use std::fmt;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, Visitor,
    value::StrDeserializer,
};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Value, de::StrRead};

/// The record of an object, and its `id` as JSON writes it, where that is a text or a number.
///
/// # Errors
/// It is no object, or not such a record.
pub(super) fn read<R: DeserializeOwned>(text: &str) -> Result<(R, Option<String>), Error> {
    let (mut json, mut id) = (serde_json::Deserializer::from_str(text), None);
    let record = R::deserialize(Row { json: &mut json, id: &mut id })?;
    json.end()?;
    Ok((record, id))
}

struct Row<'a, 'de> {
    json: &'a mut serde_json::Deserializer<StrRead<'de>>,
    id: &'a mut Option<String>,
}

impl<'de> Deserializer<'de> for Row<'_, 'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.json.deserialize_map(Fields { of: visitor, id: self.id, at_id: false })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

/// A visitor of the object, then its fields, with an eye on `id`.
struct Fields<'a, T> {
    of: T,
    id: &'a mut Option<String>,
    at_id: bool,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Fields<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.of.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<V::Value, A::Error> {
        self.of.visit_map(Fields { of: fields, id: self.id, at_id: false })
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Fields<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let key = self.of.next_key_seed(Key(seed))?;
        Ok(key.map(|(key, is_id)| {
            self.at_id = is_id;
            key
        }))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        if !self.at_id {
            return self.of.next_value_seed(seed);
        }
        let value = self.of.next_value::<Value>()?;
        *self.id = matches!(value, Value::String(_) | Value::Number(_)).then(|| value.to_string());
        seed.deserialize(value.into_deserializer()).map_err(A::Error::custom)
    }
}

/// A key, and whether it is `id`.
struct Key<K>(K);

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for Key<K> {
    type Value = (K::Value, bool);

    fn deserialize<D: Deserializer<'de>>(self, key: D) -> Result<Self::Value, D::Error> {
        key.deserialize_str(self)
    }
}

impl<'de, K: DeserializeSeed<'de>> Visitor<'de> for Key<K> {
    type Value = (K::Value, bool);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Self::Value, E> {
        let text: StrDeserializer<'_, E> = key.into_deserializer();
        Ok((self.0.deserialize(text)?, key == "id"))
    }
}

#[cfg(test)]
mod tests {
    use obvert_api::Json;
    use obvert_api::record::{Correction, Persona, Profile, Veto};
    use proptest::prelude::*;
    use serde::Deserialize;
    use serde_json::{Map, json};

    use super::*;

    /// Reading in one go says what reading twice says.
    fn assert_as_twice<R: DeserializeOwned + serde::Serialize>(row: &Value) {
        let text = row.to_string();
        let twice = serde_json::from_str::<R>(&text).ok().filter(|_| row.is_object());
        // As it is written, which may be read as another number than it was.
        let row = serde_json::from_str::<Value>(&text).unwrap();
        let id = row.get("id").filter(|id| id.is_string() || id.is_number()).map(Value::to_string);
        let shown = |record: &R| serde_json::to_value(record).unwrap();
        let once = read::<R>(&text).ok();
        assert_eq!(once.as_ref().map(|(record, _)| shown(record)), twice.as_ref().map(shown), "{text}");
        assert_eq!(once.map(|(_, id)| id), twice.map(|_| id), "{text}");
    }

    fn assert_all(row: &Value) {
        assert_as_twice::<Json>(row);
        assert_as_twice::<Profile>(row);
        assert_as_twice::<Persona>(row);
        assert_as_twice::<Correction>(row);
        assert_as_twice::<Veto>(row);
    }

    #[test]
    fn rows_of_all_kinds_are_read_as_they_are() {
        let long = "ab\"\n\u{1f600}".repeat(50);
        for id in [
            json!("p1"),
            json!("a\"b"),
            json!(7),
            json!(-1.5),
            json!(u64::MAX),
            json!(null),
            json!([1]),
            json!({}),
            json!(long),
        ] {
            assert_all(&json!({ "id": id, "text": "x", "more": { "id": "inner" } }));
            assert_all(
                &json!({ "name": "", "description": "A shop.", "id": id, "constraints": [{ "id": "c1", "text": "Be kind." }] }),
            );
            assert_all(&json!({ "dialogue": id, "turn": 1, "sample": 2, "constraint": "c", "satisfied": true }));
        }
        [json!(3), json!("id"), json!(["id", 1]), json!({}), json!(null)].iter().for_each(assert_all);
        for text in ["{\"id\": 1} x", "{\"id\": ", "{\"id\"}", ""] {
            assert!(read::<Json>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_record_that_stands_for_another_is_read() {
        #[derive(Deserialize)]
        struct Around(Json);
        let (Around(row), id) = read("{\"id\": \"a\"}").unwrap();
        assert_eq!((row.0, id.as_deref()), (json!({ "id": "a" }), Some("\"a\"")));
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f32>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            let key = prop_oneof![Just("id".to_string()), "[a-e]{1,2}"];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((key, inner), 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_json_is_read_as_it_is(row in values()) {
            assert_as_twice::<Json>(&row);
        }
    }
}
