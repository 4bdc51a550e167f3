"""bytewax's keyed states: of one key where records flow, of a share of all keys where lists of records flow."""

from bytewax.operators import StatefulBatchLogic


def by_key(items):
    return [(item["key"], item) for item in items]


def by_share(workers, pick=lambda item: item):
    """Parts a list by the hash of the keys; workers are forks of one process, so they agree on it.

    bytewax decides which worker has which share by a hash of its name: "0" and "4" are on different ones of two."""
    names = {1: ["0"], 2: ["0", "4"]}.get(workers) or [str(n) for n in range(8 * workers)]

    def split(items):
        if workers == 1:
            return [("0", [pick(item) for item in items])]
        parts = [[] for _ in names]
        for item in items:
            parts[hash(item["key"]) % len(names)].append(pick(item))
        return [(name, part) for name, part in zip(names, parts) if part]

    return split


def folded(record):
    """What reduce needs of a record: texts need not travel."""
    return record["key"], record["value"], record["words"], len(record["text"])


class State(StatefulBatchLogic):
    def snapshot(self):
        """Nothing is recovered in this benchmark."""


class KeyFold(State):
    def __init__(self, _resumed):
        self.count = self.sum = self.most = self.chars = 0

    def on_batch(self, records):
        self.count += len(records)
        for record in records:
            self.sum += record["value"]
            self.chars += len(record["text"])
            if record["words"] > self.most:
                self.most = record["words"]
        return (), State.RETAIN

    def on_eof(self):
        return [(self.count, self.sum, self.most, self.chars)], State.DISCARD


class ShareFold(State):
    def __init__(self, _resumed):
        self.rows = {}

    def on_batch(self, lists):
        rows = self.rows
        for records in lists:
            for key, value, words, chars in records:
                row = rows.get(key)
                if row is None:
                    rows[key] = [key, 1, value, words, chars]
                    continue
                row[1] += 1
                row[2] += value
                if words > row[3]:
                    row[3] = words
                row[4] += chars
        return (), State.RETAIN

    def on_eof(self):
        return [list(self.rows.values())], State.DISCARD


class KeyJoin(State):
    """Records wait for the key's row of the dimension table."""

    def __init__(self, _resumed):
        self.row, self.waiting = None, []

    def on_batch(self, items):
        if self.row is None:
            self.row = next((item for item in items if "weight" in item), None)
            self.waiting += (item for item in items if "weight" not in item)
            if self.row is None:
                return (), State.RETAIN
            items, self.waiting = self.waiting, []
        for record in items:
            record["value"] *= self.row["weight"]
            record["label"] = self.row["label"]
        return items, State.RETAIN


class ShareJoin(State):
    """The share's rows of the dimension table come as one list; lists of records wait for it."""

    def __init__(self, _resumed):
        self.rows, self.waiting = None, []

    def on_batch(self, lists):
        if self.rows is None:
            self.rows = next(({row["key"]: row for row in items} for items in lists if "weight" in items[0]), None)
            self.waiting += (items for items in lists if "weight" not in items[0])
            if self.rows is None:
                return (), State.RETAIN
            lists, self.waiting = self.waiting, []
        rows = self.rows
        for records in lists:
            for record in records:
                row = rows[record["key"]]
                record["value"] *= row["weight"]
                record["label"] = row["label"]
        return lists, State.RETAIN
