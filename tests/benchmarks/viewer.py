"""Prints what pages of a large archive cost, to make and to open in Chromium.

    python tests/benchmarks/viewer.py [--runs 10000] [--points 5000000] [--keep FOLDER]

The archive has `--runs` runs that share half of the points, and one run that has the other half in
five metrics. Making the pages is a process of its own; times in the browser are those of its clock,
from a click to the next frame after the page is there. Needs Chromium.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from browser import Page, browser

from trackbridge.adapter import Batch, RunKey
from trackbridge.columns import batches, sliced
from trackbridge.schema import TABLES
from trackbridge_adapters.archive import ADAPTER

KEYS, LONG_KEYS, PARAMS = 10, 5, 20
TOGETHER = 500
START = datetime(2026, 1, 1, tzinfo=timezone.utc)

SHOWN = """new Promise((done) => {
    const begun = performance.now();
    location.hash = %r;
    const look = () => (document.body.dataset.ready === location.hash && %s)
        ? requestAnimationFrame(() => done(performance.now() - begun)) : setTimeout(look, 2);
    setTimeout(look, 0);
})"""


def archive(place: Path, runs: int, points: int) -> None:
    """Write an archive of made-up runs, as fast as its writer takes them."""
    writer = ADAPTER.writer(str(place), {})
    each = max(1, points // 2 // runs // KEYS)
    for start in range(0, runs, TOGETHER):
        names = [f"{number:08d}" for number in range(start, min(runs, start + TOGETHER))]
        with writer.open([RunKey("made", "", "vision", name) for name in names]) as sink:
            for batch in rows(names):
                sink.write(batch)
            for batch in metrics(names, KEYS, each):
                sink.write(batch)
            sink.commit()
    with writer.open([RunKey("made", "", "vision", "long")]) as sink:
        for batch in [*rows(["long"]), *metrics(["long"], LONG_KEYS, points // 2 // LONG_KEYS)]:
            sink.write(batch)
        sink.commit()


def rows(names: list[str]) -> Iterator[Batch]:
    """Runs with their params and tags."""
    label = {"project": "vision"}
    began = [START + timedelta(minutes=number) for number in range(len(names))]
    yield from batches(
        "runs",
        (
            {
                **label,
                "run_id": name,
                "name": f"run {name}",
                "status": "failed" if name.endswith("7") else "finished",
                "started": since,
                "ended": since + timedelta(hours=1),
                "user": "alice",
                "deleted": False,
            }
            for name, since in zip(names, began)
        ),
    )
    yield from batches(
        "params",
        (
            {**label, "run_id": name, "key": f"group.param{n}", "value": f"{0.001 * n * place}"}
            | {"path": f'["group","param{n}"]', "type": "float"}
            for place, name in enumerate(names)
            for n in range(PARAMS)
        ),
    )
    yield from batches(
        "tags", ({**label, "run_id": name, "key": "team", "value": "nlp"} for name in names)
    )


def metrics(names: list[str], keys: int, points: int) -> Iterator[Batch]:
    """As many points of each key of each run."""
    noise = np.random.default_rng(7)
    for first in range(0, len(names), 50):
        some = names[first : first + 50]
        number = len(some) * keys * points
        steps = np.tile(np.arange(points), len(some) * keys)
        micros = int(START.timestamp() * 1e6)
        columns = [
            pa.DictionaryArray.from_arrays(pa.array(np.zeros(number, np.int32)), ["vision"]),
            pa.DictionaryArray.from_arrays(
                pa.array(np.repeat(np.arange(len(some), dtype=np.int32), keys * points)), some
            ),
            pa.DictionaryArray.from_arrays(
                pa.array(np.tile(np.repeat(np.arange(keys, dtype=np.int32), points), len(some))),
                [f"metric{key}" for key in range(keys)],
            ),
            pa.array(steps),
            pa.array(micros + steps * 1_000_003).cast(pa.timestamp("us", "UTC")),
            pa.array(steps),
            pa.array(np.exp(-steps / points) + 0.05 * noise.standard_normal(number)),
            pa.array(np.zeros(number, bool)),
        ]
        yield from sliced("metrics", pa.RecordBatch.from_arrays(columns, schema=TABLES["metrics"]))


def make(place: Path) -> None:
    """Make the pages, and print what that took: the work of a process of its own."""
    from trackbridge.audit.viewing.view import view

    begun = time.perf_counter()
    done = view(f"archive:{place}")
    seconds = time.perf_counter() - begun
    memory = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    peak = f" with {int(memory[1]) / 1024:.0f} MB" if memory else ""
    print(f"{done.runs:,} runs, {done.points:,} points, {done.metrics:,} metrics", end=", ")
    print(f"{done.reduced:,} of them reduced: made in {seconds:.1f} s{peak}")


def made(place: Path) -> Path:
    """Have the pages made, and print how large they are."""
    subprocess.run([sys.executable, __file__, "--one", str(place)], check=True)
    page = place / "data" / "viewer" / "0001" / "index.html"
    sizes = {path.name: path.stat().st_size for path in page.parent.iterdir()}
    records = sum(path.stat().st_size for path in place.rglob("*.parquet"))
    print(f"{len(sizes)} files", end="; ")
    print(f"{sum(sizes.values()) / 1e6:.0f} MB beside {records / 1e6:.0f} MB of tables", end="; ")
    first = sizes["runs.js"] + sizes["columns.js"]
    largest = max(size for name, size in sizes.items() if name.startswith("group"))
    print(f"the table is {first / 1e6:.1f} MB, the largest group {largest / 1e6:.1f} MB")
    return page


def opened(page: Path, chromium: Page, runs: int) -> None:
    """Open the pages, and print what a person waits for."""
    chromium.open(page)
    while not value(chromium, "Boolean(document.body.dataset.ready)"):
        time.sleep(0.01)
    since = value(chromium, "performance.now()")
    print(f"first page {since:.0f} ms after its start", end="; ")
    table = "Boolean(document.querySelector('.runs tbody a'))"
    print(f"table of runs {shown(chromium, '#/runs', table):.0f} ms", end="; ")
    for what, script in (
        ("sorting", "runsPage.sort = 'params.group.param3'; runsPage.lay()"),
        ("first search", "runsPage.fields.q.value = 'run 00000'; runsPage.filter()"),
        ("search", "runsPage.fields.q.value = 'run 000001'; runsPage.filter()"),
        ("condition", "runsPage.fields.where.value = 'metric3 > 0.4'; runsPage.filter()"),
    ):
        took = value(
            chromium,
            f"(() => {{ const b = performance.now(); {script}; return performance.now() - b }})()",
        )
        print(f"{what} {took:.0f} ms", end="; ")
    plot = "Boolean(document.querySelector('#at-metrics path.line'))"
    for name in (f"{runs // 2:08d}", "long"):
        print(f"run {name} {shown(chromium, f'#/run/vision/{name}', plot):.0f} ms", end="; ")
    heap = value(chromium, "performance.memory.usedJSHeapSize / 1e6")
    print(f"{heap:.0f} MB of heap")


def shown(chromium: Page, route: str, condition: str) -> float:
    """Milliseconds until a page is there and a condition holds."""
    return float(value(chromium, SHOWN % (route, condition)))


def value(chromium: Page, expression: str) -> float:
    found = chromium.call(
        "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
    )
    assert "exceptionDetails" not in found, found
    result: float = found["result"]["value"]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--points", type=int, default=5_000_000)
    parser.add_argument("--keep", type=Path, help="leave the archive there")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        make(options.one)
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        place = options.keep or Path(folder, "archive")
        if not place.exists():
            archive(place, options.runs, options.points)
        page = made(place)
        with browser(Path(folder, "profile")) as chromium:
            opened(page, chromium, options.runs)


if __name__ == "__main__":
    main()
