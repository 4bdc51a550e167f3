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
    for line in ["  s2[\"sessions<br/>session\"]", "  s1 -.->|\"Persona\"| s2", "  s6 -->|\"Turn\"| s3"] {
        assert!(mermaid.contains(line), "{line} not in\n{mermaid}");
    }
}

/// The names of the elements, if each is closed in turn and all text is escaped.
fn elements(xml: &str) -> Vec<&str> {
    let (mut open, mut names) = (Vec::new(), Vec::new());
    for piece in xml.split('<').skip(1) {
        let (tag, text) = piece.split_once('>').expect("each < has its >");
        assert!(!text.contains('>') && tag.matches('"').count() % 2 == 0, "{piece}");
        let name = tag.trim_start_matches('/').split(&[' ', '/'][..]).next().unwrap();
        match (tag.starts_with('/'), tag.ends_with('/')) {
            (true, _) => assert_eq!(open.pop(), Some(name)),
            (false, closed) => {
                names.push(name);
                open.extend((!closed).then_some(name));
            }
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
    names
}

#[test]
fn svg_is_well_formed_and_complete() {
    let svg = draw(graph::svg);
    let names = elements(&svg);
    let count = |name: &str| names.iter().filter(|other| **other == name).count();
    // The background is a rectangle, the arrow tip a path.
    assert_eq!((count("rect"), count("path")), (8 + 1, 8 + 1));
    assert_eq!(svg.matches("class=\"record\"").count(), 8);
    assert_eq!(svg.matches("class=\"edge back\"").count(), 1);
    assert_eq!(svg.matches("class=\"edge side\"").count(), 1);
}

/// Left, top, right and bottom.
type Rectangle = [f64; 4];

fn number(tag: &str, name: &str) -> f64 {
    let value = tag.split_once(&format!(" {name}=\"")).unwrap().1;
    value.split('"').next().unwrap().parse().unwrap()
}

/// The rectangles of all boxes and edge labels.
fn rectangles(svg: &str) -> Vec<Rectangle> {
    let boxes = svg.split("<rect ").skip(2).map(|tag| {
        let tag = format!(" {tag}");
        let [x, y] = ["x", "y"].map(|name| number(&tag, name));
        [x, y, x + number(&tag, "width"), y + number(&tag, "height")]
    });
    let labels = svg.split("<text class=\"record\"").skip(1).map(|tag| {
        let text = tag.split_once('>').unwrap().1.split('<').next().unwrap();
        let (x, y, half) = (number(tag, "x"), number(tag, "y"), text.len() as f64 * 3.6);
        [x - half, y - 11.0, x + half, y + 2.0]
    });
    boxes.chain(labels).collect()
}

#[test]
fn svg_is_legible() {
    let svg = draw(graph::svg);
    let [width, height] = ["width", "height"].map(|name| number(&svg, name));
    let rectangles = rectangles(&svg);
    assert_eq!(rectangles.len(), 16);
    for (index, a) in rectangles.iter().enumerate() {
        assert!(a[0] >= 0.0 && a[1] >= 0.0 && a[2] <= width && a[3] <= height, "{a:?} is outside");
        for b in &rectangles[..index] {
            let apart = a[2] <= b[0] || b[2] <= a[0] || a[3] <= b[1] || b[3] <= a[1];
            assert!(apart, "{a:?} covers {b:?} in\n{svg}");
        }
    }
}
