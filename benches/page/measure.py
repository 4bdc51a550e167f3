"""What the page costs the run, and how fast it is on a run of 100,000 records.

    python benches/page/measure.py --program target/release/obvert [--rounds 5] [--viewers 50]

First the same run is made with nobody looking and with 50 viewers, by turns: each of them follows the board, and searches the
records every five seconds. Of each run the seconds are taken by the clock and by the processor: the former tell what the run loses
to the page's server on the same cores, too, the latter what looking costs the run itself. Then a browser (chromedriver) does what people do on the page of the last run; each interaction is
timed in the page, from the event to the frame after what it changes is there. Prints JSON.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent


def run(program, out):
    """Seconds by the clock, and of the processor."""
    begin = time.monotonic()
    process = subprocess.Popen([program, "run", HERE / "run.toml", "--out", out], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0, status
    return time.monotonic() - begin, used.ru_utime + used.ru_stime


class Page:
    """`obvert ui` on a folder."""

    def __init__(self, program, out, port):
        self.address = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen([program, "ui", out, "--port", str(port)], stdout=subprocess.DEVNULL)
        time.sleep(1)

    def get(self, path):
        with urllib.request.urlopen(self.address + path, timeout=60) as answer:
            return answer.read()

    def end(self):
        """Seconds of the processor that it took."""
        self.process.terminate()
        _, _, used = os.wait4(self.process.pid, 0)
        return used.ru_utime + used.ru_stime


def watch(page, over, events):
    """A viewer that follows the board."""
    with urllib.request.urlopen(page.address + "/api/events", timeout=60) as stream:
        for line in stream:
            events.append(len(line))
            if over.is_set():
                return


def search(page, over, failures):
    """A viewer who searches now and then."""
    while not over.wait(5):
        try:
            page.get("/api/records/judge.Judged?text=honestly")
        except OSError as error:
            failures.append(str(error))


def viewed(program, out, viewers, port):
    (out / "state").mkdir(parents=True)
    page, over, events, failures = Page(program, out, port), threading.Event(), [], []
    threads = [threading.Thread(target=watch, args=(page, over, events), daemon=True) for _ in range(viewers)]
    threads += [threading.Thread(target=search, args=(page, over, failures), daemon=True) for _ in range(viewers)]
    for thread in threads:
        thread.start()
    seconds = run(program, out)
    over.set()
    return seconds, page.end(), len(events), failures


class Browser:
    """Chromium, by WebDriver."""

    def __init__(self, port):
        self.driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL)
        self.base = f"http://127.0.0.1:{port}"
        time.sleep(1)
        options = {"args": ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,900"]}
        session = self.ask("/session", {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}})
        self.base += "/session/" + session["sessionId"]
        self.ask("/timeouts", {"script": 60000})

    def ask(self, path, body):
        request = urllib.request.Request(self.base + path, json.dumps(body).encode(), {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def timed(self, act, there):
        """Milliseconds from an act to the frame after a condition has come true."""
        script = f"""
            const done = arguments[0], begin = performance.now();
            {act};
            const wait = () => ({there}) ? requestAnimationFrame(() => done(performance.now() - begin)) : setTimeout(wait, 1);
            wait();
        """
        return self.ask("/execute/async", {"script": script, "args": []})

    def end(self):
        urllib.request.urlopen(urllib.request.Request(self.base, method="DELETE"))
        self.driver.terminate()


# An act, and what is there when it has been done. Search types a text; the word is rare or in nearly all records.
PRESS = "document.body.dispatchEvent(new KeyboardEvent('keydown', {{ key: '{}', bubbles: true }}))"
SEARCH = "found.entries = []; document.getElementById('list').replaceChildren(); document.getElementById('text').value = '{}'; look()"
LISTED = "document.querySelectorAll('#list button').length > 0"
ACTS = {
    "to training": (PRESS.format("2"), "!document.getElementById('training').hidden"),
    "to flow": (PRESS.format("1"), "!document.getElementById('flow').hidden && document.querySelector('#graph svg')"),
    "to records": ("document.getElementById('list').replaceChildren();" + PRESS.format("3"), LISTED),
    "search a common word": (SEARCH.format("honestly"), LISTED),
    "search a phrase": (SEARCH.format("loud bread"), LISTED),
    "next record": (PRESS.format("j"), "document.querySelector('#shown h2')"),
}


def interactions(address, rounds):
    browser = Browser(9515)
    browser.ask("/url", {"url": address})
    browser.timed("", "seen !== null")
    # The first look at the records reads them all once.
    first = browser.timed(PRESS.format("3"), LISTED)
    times = {name: [browser.timed(*act) for _ in range(rounds)] for name, act in ACTS.items()}
    browser.end()
    return first, {name: {"median_ms": round(statistics.median(all_), 1), "max_ms": round(max(all_), 1)} for name, all_ in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="target/release/obvert")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--viewers", type=int, default=50)
    given = parser.parse_args()
    program = str(Path(given.program).resolve())
    folder = Path(tempfile.mkdtemp())
    alone, beside, serving, events = [], [], [], 0
    for index in range(given.rounds):
        alone.append(run(program, folder / f"alone-{index}"))
        seconds, served, events, failures = viewed(program, folder / f"beside-{index}", given.viewers, 7900 + index)
        assert not failures, failures
        beside.append(seconds)
        serving.append(served)
    out = folder / "alone-0"
    page = Page(program, out, 7899)
    logs = [log["log"] for log in json.loads(page.get("/api/records"))]
    records = {log: json.loads(page.get(f"/api/records/{log}?text="))["all"] for log in logs}
    page.end()
    page = Page(program, out, 7898)
    first, times = interactions(page.address, 9)
    page.end()
    shutil.rmtree(folder)
    ratios = [round(statistics.median(b[at] for b in beside) / statistics.median(a[at] for a in alone), 4) for at in (0, 1)]
    rounded = [[[round(s, 2) for s in seconds] for seconds in runs] for runs in (alone, beside)]
    print(json.dumps({"alone_s": rounded[0], "viewed_s": rounded[1], "ratio_of_medians": dict(zip(("clock", "processor"), ratios)), "page_processor_s": [round(s, 2) for s in serving], "events_of_the_last": events, "records": records, "first_look_ms": round(first, 1), "interactions": times}, indent=1))


if __name__ == "__main__":
    main()
