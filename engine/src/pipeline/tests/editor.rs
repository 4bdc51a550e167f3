//! The schema for editors is one in itself: what it refers to is there, and it has every type.

use serde_json::Value;

use super::catalog::TestCatalog;
use crate::pipeline::schema;

fn refers(value: &Value, to: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| match (key.as_str(), value) {
            ("$ref", Value::String(target)) => to.push(target.clone()),
            _ => refers(value, to),
        }),
        Value::Array(items) => items.iter().for_each(|item| refers(item, to)),
        _ => {}
    }
}

#[test]
fn all_that_it_refers_to_is_there() {
    let schema = schema(&TestCatalog::default());
    let mut targets = Vec::new();
    refers(&schema, &mut targets);
    assert!(targets.len() > 5);
    for target in targets {
        assert!(schema.pointer(target.strip_prefix('#').unwrap()).is_some(), "{target}");
    }
    let respond = &schema["definitions"]["stage.respond"];
    assert_eq!(respond["properties"]["type"]["enum"][0], "respond");
    assert!(respond["properties"].get("policy").is_some() && respond["properties"].get("from").is_some());
    assert!(schema["definitions"]["stage.profiles"]["properties"].get("from").is_none());
}
