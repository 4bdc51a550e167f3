"""Reads exported folders as their tools do, by the tools' own code where they are installed: python export.py FOLDER MODEL
FOLDER holds one export to each tool, under its name."""

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import common  # noqa: F401  first: it keeps the libraries offline
from datasets import load_dataset
from transformers import AutoTokenizer

folder, tokenizer = Path(sys.argv[1]), AutoTokenizer.from_pretrained(sys.argv[2])


def load(path):
    kind = "parquet" if path.suffix == ".parquet" else "json"
    return load_dataset(kind, data_files=str(path), split="train", cache_dir=str(folder / "cache"))


def tool(name):
    """A module of a tool, or none, which is said."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        print(f"SKIPPED: {name}: {error}")


def llama_factory(rows):
    if module := tool("llamafactory.data.converter"):
        info = json.loads((folder / "llama-factory/dataset_info.json").read_text())["rpo"]
        tags = dict(role_tag="from", content_tag="value", user_tag="human", assistant_tag="gpt", observation_tag="observation")
        columns = dict(kto_tag=None, tools=None, images=None, videos=None, audios=None, **info["columns"])
        attributes = SimpleNamespace(ranking=True, function_tag="function_call", system_tag="system", **tags, **columns)
        convert = module.SharegptDatasetConverter(attributes, None)
        return [[len(row["_response"]), len(row["_prompt"]) % 2, row["_system"]] for row in map(convert, rows)]


def axolotl(rows):
    if module := tool("axolotl.prompt_strategies.dpo.chat_template"):
        import yaml

        settings = yaml.safe_load((folder / "axolotl/rpo.yaml").read_text())
        transform, options = module.default(settings)
        rows = rows.map(lambda row: transform(row, tokenizer=tokenizer), **options)
        return [[row["prompt"], row["chosen"], row["rejected"]] for row in rows]


def openrlhf(rows):
    if module := tool("openrlhf.datasets.reward_dataset"):
        keys = dict(prompt_key="prompt", apply_chat_template=tokenizer.apply_chat_template, is_dpo=True)
        return [module.preprocess_data(row, **keys)[:3] for row in rows]


FILES = {
    "trl": ("pairs.parquet", lambda rows: None),
    "llama-factory": ("rpo.jsonl", llama_factory),
    "axolotl": ("pairs.jsonl", axolotl),
    "openrlhf": ("pairs.jsonl", openrlhf),
}
found = {}
for name, (file, read) in FILES.items():
    rows = load(folder / name / file)
    nulls = [column for column in rows.column_names if None in rows[column]]
    found[name] = {"rows": len(rows), "nulls": nulls, "columns": rows.column_names, "read": read(rows)}
print(json.dumps(found))
