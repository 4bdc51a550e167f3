//! Drawings of the sound pipeline.

use super::{GOOD, TestCatalog, check};
use crate::pipeline::graph;

fn draw(drawing: fn(&crate::pipeline::Plan, &dyn crate::pipeline::Catalog) -> String) -> String {
    drawing(&check(GOOD, &[]).unwrap(), &TestCatalog::default())
}

#[test]
fn dot_names_stages_records_and_the_loop() {
    let dot = draw(graph::dot);
    for line in [
        "  s2 [label=\"sessions\\nsession\"];",
        "  s0 -> s2 [label=\"Profile\"];",
        "  s1 -> s2 [label=\"Persona\", style=dashed];",
        "  s6 -> s3 [label=\"Turn\", constraint=false];",
    ] {
        assert!(dot.contains(line), "{line} not in\n{dot}");
    }
    assert_eq!(dot.matches("->").count(), 8);
}

#[test]
fn mermaid_names_stages_records_and_side_inputs() {
    let mermaid = draw(graph::mermaid);
    for line in [
        "  s2[\"sessions<br/>session\"]",
        "  s1 -.->|\"Persona\"| s2",
        "  s6 -->|\"Turn\"| s3",
    ] {
        assert!(mermaid.contains(line), "{line} not in\n{mermaid}");
    }
}
