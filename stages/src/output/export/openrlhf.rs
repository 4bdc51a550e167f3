//! OpenRLHF 0.11: `openrlhf/datasets/reward_dataset.py`.
//!
//! A response is what the rendered conversation has behind as many characters as the rendered prompt has. It is cut wherever else
//! the prompt is not what the conversation begins with: so the prompt ends with what is to be answered.

use serde_json::json;

use super::Tool;
use super::row::Row;

pub(super) static TOOL: Tool = Tool {
    name: "openrlhf",
    command: "sh train.sh",
    data: "pairs.jsonl",
    check,
    shown: |row| json!(row),
    files: &[("README.md", include_str!("openrlhf/README.md")), ("train.sh", include_str!("openrlhf/train.sh"))],
};

fn check(row: &Row) -> Result<(), String> {
    row.check_turns()?;
    row.check_roles()
}
