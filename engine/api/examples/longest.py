#!/usr/bin/env python3
"""A stage in Python: of the rows of a topic, the one with the longest text. A whole plugin, with the standard library only.

In a pipeline, from its folder (the file must be executable):

    plugins = ["longest.py"]

    [stage.longest]
    type = "longest"
    from = "rows"
    by = "topic"

The program runs it, as often as it has threads, and speaks to it in lines of JSON: `obvert_api::guide` has the protocol."""

import json
import os
import sys

STAGE = {
    "name": "longest", "version": "1.0.0", "kind": "group", "input": "Json", "with": None, "output": "Json",
    "settings": {
        "type": "object",
        "properties": {"by": {"type": "string", "description": "The field that tells the topic."}},
        "required": ["by"],
        "additionalProperties": False,
    },
}


def key(settings, row):
    return {"key": str(row[settings["by"]])}


def run(settings, group):
    return {"records": [max(group["records"], key=lambda row: (len(row["text"]), row["text"]))]}


def answered(handle, settings, item):
    """What is raised costs the item, and is told as the reason."""
    try:
        return handle(settings, item)
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"}


def main():
    # What is printed by accident must not come among the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(answer):
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    hello = json.loads(sys.stdin.readline())
    if "stage" not in hello:
        return say({"stages": [STAGE]})
    say({})
    for line in sys.stdin:
        for operation, items in json.loads(line).items():
            for number, item in enumerate(items):
                say({"item": number, **answered({"run": run, "key": key}[operation], hello["settings"], item)})


if __name__ == "__main__":
    main()
