"""The explorer on a hundred thousand and a million rows: time to the first row, to a new ranking, and memory.

The store holds random activations of width 576, the data random words. The server runs in a process of its own and is
asked over HTTP what its page asks; with Playwright and a Chromium, a browser opens the page too. A pass is the time in
which the fast family scores all rows by one direction: ratios to it say what the explorer adds, on any machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import numpy as np

from harness import Target, at_most, report

WIDTH, SHARD, SITE = 576, 2048, "resid_post.0"
ROUNDS = 5
WORDS = np.array(
    ["sun", "rain", "garden", "bees", "cat", "dog", "egg", "water", "number", "table", "letter", "end"]
)


def synthetic_run(folder: Path, rows: int) -> Path:
    """Lines of JSON and a store of random activations on them, each written by its own room; gives the store."""
    import pyarrow as pa

    from aitia.attribution import ActivationStore
    from aitia.records import read_records

    generator = np.random.default_rng(0)
    ids = [f"r{i}" for i in range(rows)]
    said = [" ".join(each) for each in WORDS[generator.integers(len(WORDS), size=(rows, 24))]]
    planted = (generator.random(rows) < 0.1).tolist()
    with (folder / "train.jsonl").open("w", encoding="utf-8") as file:
        for name, text, flag in zip(ids, said, planted, strict=True):
            row = {"id": name, "prompt": f"Question {name}?", "completion": text, "planted": flag}
            file.write(json.dumps(row) + "\n")
    del said, planted
    table = pa.table(
        {
            "id": ids,
            "content": [f"{i:016x}" for i in range(rows)],
            "row": np.arange(rows),
            "location": [f"train.jsonl:{i + 1}" for i in range(rows)],
            "prompt_tokens": generator.integers(4, 9, rows).astype(np.int32),
            "response_tokens": generator.integers(20, 60, rows).astype(np.int32),
        }
    )
    manifest = {
        "model": {
            "name": "synthetic",
            "adapter": None,
            "dtype": "float32",
            "fingerprint": "",
            "base_fingerprint": "",
        },
        "data": {
            "rows": rows,
            "source": str(folder / "train.jsonl"),
            "fingerprint": read_records(folder / "train.jsonl").fingerprint,
            "skipped": [],
        },
        "settings": {"sites": [SITE], "activations": ["response", "backward"]},
        "shards": -(-rows // SHARD),
    }
    store = ActivationStore.create_or_resume(folder / "store", manifest, table)
    for number in range(store.shards):
        positions = np.arange(number * SHARD, min((number + 1) * SHARD, rows))
        arrays = {
            f"{name}.{SITE}": generator.standard_normal((len(positions), WIDTH), dtype=np.float32)
            for name in ("response", "backward")
        }
        loss = generator.random(len(positions), dtype=np.float32) * 20
        store.write_shard(number, {"position": positions, "loss": loss, **arrays})
    return store.path


@contextmanager
def server(store: Path) -> Iterator[tuple[str, subprocess.Popen[str], float]]:
    """The address of an explorer in a process of its own, the process, and the seconds until it could be opened."""
    start = perf_counter()
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from aitia.cli import main; main()",
            "explore",
            str(store),
            "--no-browser",
            "--json",
            "--port",
            "0",
        ],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"AITIA_PROGRESS": "0"},
    )
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["address"], process, perf_counter() - start
    finally:
        process.terminate()
        process.wait()


class Memory:
    """The largest memory of a process that no file backs, in bytes, looked at ten times a second."""

    def __init__(self, process: subprocess.Popen[str]):
        self.most, self._process = 0, process
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while self._process.poll() is None:
            try:
                status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8")
            except OSError:
                return
            found = [
                int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon")
            ]
            self.most = max(self.most, *found, 0)
            sleep(0.1)


def ask(address: str, path: str, given: dict[str, Any] | None = None) -> Any:
    body = None if given is None else json.dumps(given).encode()
    headers = {} if body is None else {"content-type": "application/json"}
    request = urllib.request.Request(f"{address}{path}", body, headers)
    with urllib.request.urlopen(request, timeout=1200) as answer:
        return json.loads(answer.read()) if path.startswith("api") else answer.read()


def timed(act: Callable[[], Any]) -> float:
    start = perf_counter()
    act()
    return perf_counter() - start


def first_rows(address: str) -> None:
    """What the page asks until its first row stands there."""
    ask(address, "")
    ask(address, "page/main.js")
    ask(address, "api/opened")
    ask(address, "api/rows/0/columns")
    found = ask(address, "api/rows/0/page", {"query": {}, "offset": 0, "limit": 100, "columns": []})
    assert len(found["rows"]) == 100


def in_browser(address: str) -> float | None:
    """Seconds from opening the page to its first row in a browser; none where there is none."""
    place = os.environ.get("AITIA_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright  # pyright: ignore[reportMissingImports]  # installed by `make bench-explorer` alone
    except ImportError:
        return None
    if place is None:
        return None
    with sync_playwright() as running:
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = running.chromium.launch(executable_path=place, args=flags)
        page = browser.new_page()
        page.goto("about:blank")
        seconds = timed(lambda: (page.goto(address), page.wait_for_selector(".line .text, .line .none")))
        browser.close()
    return seconds


def one_pass(store: Path) -> float:
    """Seconds of the fast family for one direction, the median of some."""
    from aitia.attribution import ActivationStore
    from aitia.attribution.scorers import score_vectors

    opened = ActivationStore.open(store)
    direction = np.random.default_rng(1).standard_normal((1, WIDTH), dtype=np.float32)
    return statistics.median(
        timed(lambda: score_vectors(opened, direction, SITE, "activation-gradient")) for _ in range(ROUNDS)
    )


def explored(rows: int) -> tuple[dict[str, Any], list[Target]]:
    with tempfile.TemporaryDirectory() as folder:
        store = synthetic_run(Path(folder), rows)
        bare = one_pass(store)
        with server(store) as (address, process, started):
            memory = Memory(process)
            first = timed(lambda: first_rows(address))
            browser = in_browser(address)
            reading = perf_counter()
            while (texts := ask(address, "api/rows/0/columns")["texts"])["state"] == "reading":
                sleep(0.5)
            assert texts["state"] == "ready", texts
            read = perf_counter() - reading
            ranked, checked, key = [], [], ""
            for number in range(ROUNDS):
                question = {"kind": "rows", "positive": [number * 7 + 1, number * 7 + 3, number * 7 + 5]}
                start = perf_counter()
                key = ask(address, "api/rows/0/ask", {"question": question})["scores"][0]["key"]
                page = {"query": {"sort": key}, "offset": 0, "limit": 100, "columns": [key]}
                ask(address, "api/rows/0/page", page)
                ranked.append(perf_counter() - start)
                if number < 2:
                    start = perf_counter()
                    ask(address, "api/rows/0/controls", {"score": key})
                    checked.append(perf_counter() - start)
            far = {"query": {"sort": key}, "offset": rows - 100, "limit": 100, "columns": [key]}
            paged = statistics.median(
                timed(lambda: ask(address, "api/rows/0/page", far)) for _ in range(ROUNDS)
            )
            search = {
                "query": {"text": "garden.*bees", "pattern": True},
                "offset": 0,
                "limit": 100,
                "columns": [],
            }
            searched = timed(lambda: ask(address, "api/rows/0/page", search))
            labelled = timed(lambda: ask(address, "api/rows/0/label", {"score": key, "label": "planted"}))
            most = memory.most
    again = statistics.median(ranked)
    row = {
        "rows": rows,
        "one_pass_seconds": bare,
        "start_seconds": started,
        "first_row_seconds": first,
        "first_row_in_browser_seconds": browser,
        "texts_read_seconds": read,
        "rerank_seconds": again,
        "rerank_over_one_pass": again / bare,
        "controls_seconds": checked[-1],
        "controls_over_one_pass": checked[-1] / bare,
        "label_check_seconds": labelled,
        "last_page_seconds": paged,
        "search_seconds": searched,
        "memory_gb": most / 1e9,
    }
    shown = first if browser is None else browser
    targets = [
        at_most(f"first row of {rows:,} rows", 1.0, shown, unit=" s"),
        at_most(f"memory beside the store's files, {rows:,} rows", 1.0, most / 1e9, unit=" GB"),
    ]
    if rows == 100_000:
        targets.append(at_most(f"{rows:,} rows ranked by a new direction", 2.0, again, unit=" s"))
    return row, targets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small runs whose figures are not quoted")
    options = parser.parse_args()
    found = [explored(rows) for rows in ([5_000, 20_000] if options.quick else [100_000, 1_000_000])]
    report(
        "explorer",
        [row for row, _ in found],
        [each for _, targets in found for each in targets],
        quick=options.quick,
    )


if __name__ == "__main__":
    main()
