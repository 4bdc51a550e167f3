//! TRL 1.16: `trl/trainer/dpo_trainer.py`, `trl/data_utils.py`.
//!
//! Rows are as TRL reads them anyway. A list without a message ends its preprocessing; a prompt that nobody is asked in gets a
//! second answer behind the first.

use serde_json::json;

use super::Tool;
use super::row::Row;

pub(super) static TOOL: Tool = Tool {
    name: "trl",
    command: "python train.py",
    data: if cfg!(feature = "parquet") { "pairs.parquet" } else { "pairs.jsonl" },
    check,
    shown: |row| json!(row),
    files: &[
        ("README.md", include_str!("trl/README.md")),
        ("train.py", include_str!("trl/train.py")),
        ("rpo_trl.py", include_str!("trl/rpo_trl.py")),
    ],
};

fn check(row: &Row) -> Result<(), String> {
    row.check_turns()?;
    row.check_roles()
}
