"""Reading whole tables of points, beside what Arrow alone takes to read the same file.

Usage: python tests/benchmarks/tables.py [--points N]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.json as pj

from trackbridge.adapter import Query, Reader, RunRef
from trackbridge.registry import open_reader

TIMES = 5
RUNS, KEYS = 30, 10


def tables(points: int) -> dict[str, pa.Table]:
    """The same number of values, long and wide."""
    rng, rows = np.random.default_rng(7), points // KEYS
    steps = np.arange(rows) % (rows // RUNS + 1)
    runs = np.sort(np.arange(rows) % RUNS)
    names = pa.array([f"run-{number:04}" for number in range(RUNS)])
    values = rng.random((KEYS, rows))
    times = 1.7e9 + np.arange(rows) * 0.25
    base = {"run": names.take(pa.array(runs)), "step": steps, "time": times}
    wide = pa.table({**base, **{f"metric_{key}": values[key] for key in range(KEYS)}})
    every = np.repeat(np.arange(rows), KEYS)
    long = pa.table(
        {
            "run": names.take(pa.array(runs[every])),
            "key": pa.array([f"metric_{key}" for key in range(KEYS)] * rows),
            "step": steps[every],
            "time": times[every],
            "value": values.T.ravel(),
        }
    )
    return {"long": long, "wide": wide}


def taken(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and seconds of processors."""
    begun, busy = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - begun, time.process_time() - busy


def compare(name: str, address: str, arrow: Callable[[], object], points: int) -> None:
    """Two lines: Arrow alone, the listing, the points of all runs, and how they compare.

    All in turns, since others may be at work on the machine: medians of some tries.
    """
    tries = []
    for _ in range(TIMES):
        reader = open_reader(address)
        refs: list[RunRef] = []

        def listed(reader: Reader = reader, refs: list[RunRef] = refs) -> None:
            refs += [info.ref for info in reader.list_runs(Query())]

        def read(reader: Reader = reader, refs: list[RunRef] = refs) -> None:
            batches = reader.read_runs(refs, ["metrics"])
            assert sum(batch.data.num_rows for batch in batches) == points

        tries.append([taken(work) for work in (arrow, listed, read)])
    for position, what in enumerate(("wall", "cpu")):
        alone, listing, reading = (median(t[w][position] for t in tries) for w in range(3))
        ratio = median(t[0][position] / (t[1][position] + t[2][position]) for t in tries)
        print(
            f"{name:10} {what:4}  arrow {alone:5.2f} s  listing {listing:5.2f} s  points "
            f"{reading:5.2f} s  {points / (listing + reading) / 1e6:5.2f} M points/s  "
            f"{ratio:.2f} of arrow"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=3_000_000)
    points = parser.parse_args().points
    with tempfile.TemporaryDirectory() as folder:
        for shape, table in tables(points).items():
            path = Path(folder, f"{shape}.csv")
            pv.write_csv(table, path)
            found = table.num_rows * (KEYS if shape == "wide" else 1)
            compare(f"csv {shape}", f"csv:{path}", lambda path=path: pv.read_csv(path), found)
            with (path.with_suffix(".jsonl")).open("w") as file:
                part = table.slice(0, table.num_rows // 4)
                part.to_pandas().to_json(file, orient="records", lines=True)
            lines = path.with_suffix(".jsonl")
            found = part.num_rows * (KEYS if shape == "wide" else 1)
            alone = lambda path=lines: pj.read_json(path)  # noqa: E731
            compare(f"jsonl {shape}", f"jsonl:{lines}", alone, found)


if __name__ == "__main__":
    main()
