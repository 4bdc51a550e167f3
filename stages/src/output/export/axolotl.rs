//! Axolotl 0.19: `axolotl/prompt_strategies/dpo/chat_template.py`, `axolotl/utils/data/rl.py`.
//!
//! A response is rendered behind a stand-in for the user's message, and then cut out of that where its text is found first. Where
//! a template strips texts, one with space around it is not found, and all but its last character is lost; one that is found
//! earlier takes part of the stand-in with it.

use serde_json::json;

use super::Tool;
use super::row::Row;

pub(super) static TOOL: Tool = Tool {
    name: "axolotl",
    command: "axolotl train rpo.yaml",
    data: "pairs.jsonl",
    check,
    shown: |row| {
        let Row { prompt, chosen, rejected, margin_g, id, dialogue, reversed } = row;
        json!({"messages": prompt, "chosen": chosen.last(), "rejected": rejected.last(), "margin_g": margin_g, "id": id, "dialogue": dialogue, "reversed": reversed})
    },
    files: &[("README.md", include_str!("axolotl/README.md")), ("rpo.yaml", include_str!("axolotl/rpo.yaml"))],
};

/// What well-known templates put in front of a response.
const BEFORE: [&str; 5] = [
    "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n\
     <|im_start|>user\n[[dummy_message]]<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: 26 Jul \
     2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n[[dummy_message]]<|eot_id|>\
     <|start_header_id|>assistant<|end_header_id|>\n\n",
    "<bos><start_of_turn>user\n[[dummy_message]]<end_of_turn>\n<start_of_turn>model\n",
    "<s> [INST] [[dummy_message]] [/INST] ",
    "<|user|>\n[[dummy_message]]<|end|>\n<|assistant|>\n",
];

fn check(row: &Row) -> Result<(), String> {
    row.check_one()?;
    row.check_turns()?;
    row.check_roles()?;
    for (name, response) in row.responses() {
        check_text(Row::text(response)).map_err(|cause| format!("`{name}` {cause}"))?;
    }
    Ok(())
}

fn check_text(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("is empty".into());
    }
    if text.trim() != text {
        return Err("has white space around it, and is lost where a chat template strips it".into());
    }
    if BEFORE.iter().any(|before| before.contains(text)) {
        return Err("is also part of what chat templates put in front of it, and would begin there".into());
    }
    Ok(())
}
