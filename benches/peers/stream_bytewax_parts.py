"""What bytewax's flow begins with, maps with and ends with: batches in, four stages over a list of records, a writer."""

import json
from itertools import islice

from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from stream_common import COLUMNS, MASK, TAG, count_lines, joined_number


class SourcePart(StatelessSourcePartition):
    def __init__(self, batches):
        self.batches = batches

    def next_batch(self):
        return next(self.batches)


class Source(DynamicSource):
    """Batches from a function of a worker's number."""

    def __init__(self, batches):
        self.batches = batches

    def build(self, _step, worker, _workers):
        return SourcePart(self.batches(worker))


class SinkPart(StatelessSinkPartition):
    def __init__(self, write):
        self.write = write

    def write_batch(self, items):
        self.write(items)


class Sink(DynamicSink):
    def __init__(self, write):
        self.write = write

    def build(self, *_place):
        return SinkPart(self.write)


def share_of(options, worker, size):
    """A worker's share of the records as lists; one call of the parser a list is twice as fast as one a line."""
    count = count_lines(options.input)
    first, last = (count * place // options.workers for place in (worker, worker + 1))
    with open(options.input, encoding="utf-8") as file:
        lines = islice(file, first, last)
        while part := list(islice(lines, size)):
            yield json.loads(f"[{','.join(part)}]")


def lower(records):
    for record in records:
        record["text"] = record["text"].lower()
    return records


def count_words(records):
    for record in records:
        record["words"] = record["text"].count(" ") + 1
    return records


def mix(records):
    for record in records:
        record["value"] = (record["value"] * 3 + record["words"]) & MASK
    return records


def tag(records):
    for record in records:
        record["text"] = TAG + record["text"]
    return records


STAGES = (lower, count_words, mix, tag)


def write_rows(file, rows):
    file.writelines(json.dumps(dict(zip(COLUMNS, row))) + "\n" for row in rows)


def count_joined(found, records):
    found["count"] += len(records)
    found["sum"] += sum(map(joined_number, records))
