//! LLaMA-Factory 0.9.5: `llamafactory/data/converter.py`, `llamafactory/data/mm_plugin.py`.
//!
//! It skips a row whose roles do not alternate with a warning, and stops at one in which a word stands for a picture that is not
//! there.

use serde_json::json;

use super::Tool;
use super::row::Row;
use crate::output::llama_factory;

pub(super) static TOOL: Tool = Tool {
    name: "llama-factory",
    command: "llamafactory-cli train rpo.yaml",
    data: "rpo.jsonl",
    check,
    shown: |row| json!(shown(row)),
    files: &[
        ("README.md", include_str!("llama_factory/README.md")),
        ("rpo.yaml", include_str!("llama_factory/rpo.yaml")),
        ("dataset_info.json", include_str!("llama_factory/dataset_info.json")),
    ],
};

/// What models with eyes and ears take for a picture, a film, a sound.
const PLACEHOLDERS: [&str; 3] = ["<image>", "<video>", "<audio>"];

fn shown(row: &Row) -> llama_factory::Row<'_> {
    let responses = [&row.chosen, &row.rejected].map(|response| Row::text(response));
    llama_factory::Row::new(&row.prompt, responses, &row.id, row.margin_g as u32)
}

fn check(row: &Row) -> Result<(), String> {
    row.check_one()?;
    row.check_turns()?;
    llama_factory::check(&shown(row))?;
    let texts = [&row.prompt, &row.chosen, &row.rejected].into_iter().flatten().map(|message| &message.content);
    let mut held = texts.flat_map(|text| PLACEHOLDERS.into_iter().filter(move |word| text.contains(word)));
    held.next().map_or(Ok(()), |word| Err(format!("`{word}` in a message stands for one that is not there")))
}
