//! The schema of pipelines says of files what the program says of them.

use std::fs;

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::{Value, json};

use crate::common::{done, folder, repository};

/// The schema of what the program has by itself.
struct Schema {
    schemas: Schemas,
    root: SchemaIndex,
}

impl Schema {
    fn printed() -> Self {
        let printed = done(folder(&[]).path(), &["schema"]).out;
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource("pipeline.json", serde_json::from_str(&printed).unwrap()).unwrap();
        let root = compiler.compile("pipeline.json", &mut schemas).unwrap();
        Schema { schemas, root }
    }

    /// What is wrong with a pipeline.
    fn refuses(&self, pipeline: &Value) -> Option<String> {
        self.schemas.validate(pipeline, self.root).err().map(|error| format!("{error:#}"))
    }
}

fn read(text: &str) -> Value {
    serde_json::to_value(toml::from_str::<toml::Value>(text).unwrap()).unwrap()
}

#[test]
fn every_pipeline_of_the_repository_is_as_the_schema_says() {
    let (schema, mut seen) = (Schema::printed(), 0);
    for entry in fs::read_dir(repository("pipelines")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let refused = schema.refuses(&read(&fs::read_to_string(&path).unwrap()));
            assert_eq!(refused, None, "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 10, "only {seen}");
}

#[test]
fn what_the_program_refuses_the_schema_refuses() {
    let schema = Schema::printed();
    let good = read(&fs::read_to_string(repository("pipelines/quickstart.toml")).unwrap());
    let broken: [(&str, &str, Value); 8] = [
        ("", "nmae", json!("x")),
        ("", "name", json!(3)),
        ("/run", "seeed", json!(1)),
        ("/run", "seed", json!("one")),
        ("/stage/respond", "sample", json!(8)),
        ("/stage/respond", "samples", json!("many")),
        ("/stage/respond", "type", json!("answer")),
        ("/model/policy", "kind", json!("open-ai")),
    ];
    for (table, key, value) in broken {
        let mut pipeline = good.clone();
        pipeline.pointer_mut(table).unwrap()[key] = value;
        assert!(schema.refuses(&pipeline).is_some(), "{table}/{key}");
    }
    for (table, key) in [("/stage/respond", "from"), ("/stage/respond", "type"), ("/stage/respond", "model")] {
        let mut pipeline = good.clone();
        pipeline.pointer_mut(table).unwrap().as_object_mut().unwrap().remove(key).unwrap();
        assert!(schema.refuses(&pipeline).is_some(), "without {table}/{key}");
    }
}
