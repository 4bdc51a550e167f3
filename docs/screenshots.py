"""Makes the pictures in README: the page of the quickstart while it runs, and its report.

    cargo build --release && python docs/screenshots.py
"""

import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
PROGRAM = ROOT / "target/release/obvert"
PORT = 7897


def picture(address, name, height):
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--timeout=5000"]
    size, to = f"--window-size=1200,{height}", f"--screenshot={HERE / name}"
    subprocess.run(["chromium", *options, size, to, address], check=True, capture_output=True)


def judged(out):
    board = out / "state/board.json"
    stages = json.loads(board.read_text())["stages"] if board.exists() else []
    return next((stage["done"] for stage in stages if stage["name"] == "judge"), 0)


def main():
    out = Path(tempfile.mkdtemp())
    run = subprocess.Popen([PROGRAM, "run", ROOT / "pipelines/quickstart.toml", "--out", out, "--log", "quiet"])
    while judged(out) < 400:
        time.sleep(0.2)
    page = subprocess.Popen([PROGRAM, "ui", out, "--port", str(PORT)], stdout=subprocess.DEVNULL)
    time.sleep(1)
    picture(f"http://127.0.0.1:{PORT}/#flow", "page.png", 620)
    assert run.wait() == 0
    page.terminate()
    picture(f"file://{out / 'report.html'}", "report.png", 900)
    shutil.rmtree(out)


if __name__ == "__main__":
    main()
