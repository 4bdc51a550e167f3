//! The JSON schema of pipeline files, for editors: draft-07, of which they know what is used here.

use serde_json::{Map, Value as Json, json};

use super::Catalog;
use super::resolve::{MODEL_COMMON, PLUGINS_SCHEMA, RUN_SCHEMA, STAGE_COMMON, TEST_SCHEMA};

/// The schema of a pipeline that may use what the catalog has.
pub fn schema(catalog: &dyn Catalog) -> Json {
    let mut definitions = Map::new();
    let mut choice = |sort: &str, selector: &str, common: &Json, kinds: Vec<(String, Json)>| {
        let kinds = kinds.into_iter().map(|(kind, settings)| {
            let name = format!("{sort}.{kind}");
            let table = table(selector, &kind, common, &settings, &name);
            let chosen = json!({ "$ref": format!("#/definitions/{name}") });
            definitions.insert(name, table);
            chosen
        });
        // What changes a table of a file that is included need not say its kind again.
        let change = json!({ "type": "object", "not": { "required": [selector] } });
        json!({ "type": "object", "additionalProperties": { "oneOf": kinds.chain([change]).collect::<Vec<_>>() } })
    };
    let model = |kind: String| catalog.model(&kind).cloned().map(|schema| (kind, schema));
    let stage = |kind: String| catalog.stage(&kind).map(|stage| (kind.clone(), with_inputs(stage)));
    let models = choice("model", "kind", &MODEL_COMMON, catalog.model_kinds().into_iter().filter_map(model).collect());
    let stages = choice("stage", "type", &STAGE_COMMON, catalog.stage_kinds().into_iter().filter_map(stage).collect());
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A pipeline of obvert",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "name": { "type": "string", "pattern": "^[A-Za-z0-9_-]+$", "description": "The pipeline's name." },
            "include": { "oneOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }],
                "description": "Files whose tables stand in front of these: what both say, this file says." },
            "plugins": old(&PLUGINS_SCHEMA["properties"]["plugins"], ""),
            "run": old(&RUN_SCHEMA, ""),
            "model": models,
            "stage": stages,
            "test": { "type": "array", "items": old(&TEST_SCHEMA, "") },
        },
        "if": { "not": { "required": ["include"] } },
        "then": { "properties": { "model": all_say("kind"), "stage": all_say("type") } },
        "definitions": definitions,
    })
}

/// Tables that all have this key.
fn all_say(key: &str) -> Json {
    json!({ "additionalProperties": { "required": [key] } })
}

/// The settings of a stage type, with the inputs that it has.
fn with_inputs(stage: super::StageKind<'_>) -> Json {
    let names = |record: &str, of: &str| {
        let description = format!("{of}: names of stages that make `{record}`.");
        let name = json!({ "type": "string" });
        json!({ "description": description, "oneOf": [name, { "type": "array", "items": name, "minItems": 1 }] })
    };
    let mut schema = whole(stage.schema);
    for (key, record, of) in [("from", stage.input, "The input"), ("with", stage.with, "The side input")] {
        if let (Some(record), Some(schema)) = (record, schema.as_object_mut()) {
            let properties = schema.entry("properties").or_insert_with(|| json!({}));
            properties[key] = names(record, of);
            let required = schema.entry("required").or_insert_with(|| json!([]));
            required.as_array_mut().into_iter().for_each(|required| required.push(key.into()));
        }
    }
    schema
}

/// A schema that is another one of its own in all, as of a type that is transparent, is that one: beside `$ref` draft-07 sees nothing.
fn whole(schema: &Json) -> Json {
    let target = schema["$ref"].as_str().and_then(|target| schema.pointer(target.strip_prefix('#')?));
    let (Some(Json::Object(target)), Json::Object(fields)) = (target, schema) else { return schema.clone() };
    let mut fields = fields.clone();
    fields.remove("$ref");
    for (key, value) in target {
        fields.entry(key).or_insert_with(|| value.clone());
    }
    Json::Object(fields)
}

/// The table of a kind: which it is, what all have, and its settings; no other keys.
fn table(selector: &str, kind: &str, common: &Json, settings: &Json, name: &str) -> Json {
    let mut table = old(&whole(settings), &format!("#/definitions/{name}"));
    let mut properties = Map::from_iter([(selector.to_owned(), json!({ "enum": [kind] }))]);
    for all in [&table["properties"], &common["properties"]] {
        properties.extend(all.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
    }
    let required = table["required"].as_array().into_iter().flatten().cloned();
    table["required"] = [json!(selector)].into_iter().chain(required).collect();
    table["properties"] = Json::Object(properties);
    table["type"] = json!("object");
    table["additionalProperties"] = json!(false);
    table
}

/// A schema in the words of draft-07; what it refers to within itself is found at `root`.
fn old(schema: &Json, root: &str) -> Json {
    match schema {
        Json::Object(fields) => {
            let mut renamed = Map::new();
            for (key, value) in fields {
                match (key.as_str(), value) {
                    ("$schema", _) => {}
                    ("$ref", Json::String(target)) => {
                        renamed.insert(key.clone(), target.replacen('#', root, 1).into());
                    }
                    ("prefixItems", value) => {
                        renamed.insert("items".into(), old(value, root));
                    }
                    ("const", value) => {
                        renamed.insert("enum".into(), json!([value]));
                    }
                    (key, value) => {
                        renamed.entry(key).or_insert_with(|| old(value, root));
                    }
                }
            }
            Json::Object(renamed)
        }
        Json::Array(items) => items.iter().map(|item| old(item, root)).collect(),
        other => other.clone(),
    }
}
