"""pathway on the streaming workload; prints one JSON line.

Its own expressions and its own reader of JSON lines are the default, in static mode; --udf makes the stages Python
functions, --streaming commits as it reads, --memory starts from Python objects, --read-only stops after reading: what
remains when that is taken off is the time without reading. --batch is the number of rows an expression is given at once.
"""

import os
import resource
import time

from stream_common import MASK, TAG, count_lines, joined_result, parser, read_jsonl, report, rows_result

options = parser(__doc__)
for name in ("--udf", "--streaming", "--read-only"):
    options.add_argument(name, action="store_true")
options = options.parse_args()
os.environ["PATHWAY_THREADS"] = str(options.workers)  # read on import

import pathway as pw  # noqa: E402


class Record(pw.Schema):
    name: str  # "id" is taken
    key: str
    value: int
    text: str


class Dimension(pw.Schema):
    key: str
    weight: int
    label: str


def read(path, schema, fields=None):
    if options.memory:
        return pw.debug.table_from_rows(schema, [tuple(row.values()) for row in read_jsonl(path)])
    mode = "streaming" if options.streaming else "static"
    return pw.io.jsonlines.read(path, schema=schema, json_field_paths=fields, mode=mode)


lower = pw.udf(str.lower, deterministic=True, return_type=str)
count_words = pw.udf(lambda text: text.count(" ") + 1, deterministic=True, return_type=int)
mix = pw.udf(lambda value, words: (value * 3 + words) & MASK, deterministic=True, return_type=int)
tag = pw.udf(lambda text: TAG + text, deterministic=True, return_type=str)


def stages(table):
    if options.udf:
        table = table.with_columns(text=lower(table.text))
        table = table.with_columns(words=count_words(table.text))
        table = table.with_columns(value=mix(table.value, table.words))
        return table.with_columns(text=tag(table.text))
    table = table.with_columns(text=table.text.str.lower())
    table = table.with_columns(words=table.text.str.count(" ") + 1)
    table = table.with_columns(value=(table.value * 3 + table.words) % (MASK + 1))
    return table.with_columns(text=TAG + table.text)


def reduced(table):
    sums = {"sum": pw.reducers.sum(table.value), "chars": pw.reducers.sum(table.text.str.len())}
    most = pw.reducers.max(table.words)
    return table.groupby(table.key).reduce(table.key, count=pw.reducers.count(), max_words=most, **sums)


def joined(table, dims):
    """The number of joined records and their checksum."""
    left, right = pw.left, pw.right
    same = {"name": left.name, "key": left.key, "words": left.words, "text": left.text, "label": right.label}
    table = table.join(dims, table.key == dims.key).select(value=left.value * right.weight, **same)
    number = table.value + table.name.str.len() + table.text.str.len() + table.label.str.len()
    return table.reduce(count=pw.reducers.count(), sum=pw.reducers.sum(number))


def finish(row=None):
    seconds = time.perf_counter() - start
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    if options.read_only:
        result = "only read"
    else:
        result = rows_result(options.out) if options.work == "reduce" else joined_result(row["count"], row["sum"])
    report("pathway", options, seconds, peak * 1024 / 1e6, result)
    os._exit(0)  # a stream of files never ends


def watch(table):
    """Ends the process when every record is in the rows."""
    rows, expected = {}, count_lines(options.input)

    def change(key, row, time, is_addition):
        if is_addition:
            rows[key] = row
        elif rows.get(key) == row:
            del rows[key]

    def time_end(time):
        if sum(row["count"] for row in rows.values()) == expected:
            with open(options.out, "w") as out:
                out.writelines(pw.Json.dumps(row) + "\n" for row in rows.values())
            finish(next(iter(rows.values())))

    pw.io.subscribe(table, on_change=change, on_time_end=time_end)


source = read(options.input, Record, {"name": "/id"})
if options.read_only:
    pw.io.null.write(source)
elif options.work == "reduce":
    source = reduced(stages(source))
else:
    source = joined(stages(source), read(options.dims, Dimension))
if options.streaming:
    watch(source)
elif not options.read_only:
    pw.io.jsonlines.write(source, options.out)
start = time.perf_counter()
pw.run(monitoring_level=pw.MonitoringLevel.NONE, max_expression_batch_size=options.batch)
finish(None if options.read_only else read_jsonl(options.out)[-1])
