"""bytewax on the streaming workload; prints one JSON line.

With --batch 1 records flow: the source hands out 1,000 at once (one at a time is four times slower), then operators take
records and each key has its state. With --batch B lists of B records flow, and a keyed step has one state for a share of
the keys. Workers are processes of one cluster, because threads share Python's lock.
"""

import gc
import multiprocessing
import resource
import socket
import time
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.testing import cluster_main

from stream_bytewax_parts import STAGES, Sink, Source, count_joined, share_of, write_rows
from stream_bytewax_states import KeyFold, KeyJoin, ShareFold, ShareJoin, by_key, by_share, folded
from stream_common import joined_result, parser, read_jsonl, report, rows_result


def record_flow(options, records, dims, file, found):
    """A stream and how its batches are written."""
    stream = records
    for stage in STAGES:
        stream = op.flat_map_batch(stage.__name__, stream, stage)
    stream = op.flat_map_batch("key", stream, by_key)
    if options.work == "reduce":
        stream = op.stateful_batch("reduce", stream, KeyFold)
        return stream, lambda items: write_rows(file, ((key, *row) for key, row in items))
    table = op.flat_map_batch("dims key", dims(), by_key)
    stream = op.stateful_batch("join", op.merge("both", stream, table), KeyJoin)
    return stream, lambda items: count_joined(found, [record for _, record in items])


def list_flow(options, records, dims, file, found):
    stream = records
    for stage in STAGES:
        stream = op.map(stage.__name__, stream, stage)
    if options.work == "reduce":
        stream = op.flat_map("share", stream, by_share(options.workers, folded))
        stream = op.stateful_batch("reduce", stream, ShareFold)
        return stream, lambda items: [write_rows(file, rows) for _, rows in items]
    stream = op.flat_map("share", stream, by_share(options.workers))
    table = op.flat_map("dims share", dims(), by_share(options.workers))
    stream = op.stateful_batch("join", op.merge("both", stream, table), ShareJoin)
    return stream, lambda items: [count_joined(found, part) for _, part in items]


def flow(options, batches, file, found):
    lists, made = options.batch > 1, Dataflow("stream")

    def records(_worker):
        found["start"] = time.perf_counter()
        for batch in batches:
            yield [batch] if lists else batch

    def rows(worker):
        if worker == 0:
            table = read_jsonl(options.dims)
            yield [table] if lists else table

    inputs = op.input("records", made, Source(records)), lambda: op.input("dims", made, Source(rows))
    stream, write = (list_flow if lists else record_flow)(options, *inputs, file, found)
    op.output("out", stream, Sink(write))
    return made


def work(options, addresses, worker, ready, results):
    """One process of the cluster."""
    found = {"count": 0, "sum": 0}
    batches = share_of(options, worker, options.batch if options.batch > 1 else 1000)
    with open(f"{options.out}.{worker}", "w") as file:
        if options.memory:
            batches = list(batches)
        made = flow(options, batches, file, found)
        gc.freeze()  # what is there already is not looked at again
        ready.wait()
        cluster_main(made, addresses if options.workers > 1 else [], worker)
    found["end"] = time.perf_counter()
    found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    results.put(found)


def free_addresses(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return addresses


def main():
    options = parser(__doc__).parse_args()
    fork = multiprocessing.get_context("fork")
    addresses, ready, results = free_addresses(options.workers), fork.Barrier(options.workers), fork.SimpleQueue()
    for worker in range(options.workers):
        fork.Process(target=work, args=(options, addresses, worker, ready, results)).start()
    found = [results.get() for _ in range(options.workers)]
    options.out.write_text("".join(Path(f"{options.out}.{worker}").read_text() for worker in range(options.workers)))
    joined = joined_result(sum(one["count"] for one in found), sum(one["sum"] for one in found))
    result = rows_result(options.out) if options.work == "reduce" else joined
    seconds = max(one["end"] for one in found) - min(one["start"] for one in found)
    report("bytewax", options, seconds, sum(one["peak"] for one in found), result)


if __name__ == "__main__":
    main()
