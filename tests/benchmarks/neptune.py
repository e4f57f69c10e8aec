"""How fast exports of Neptune are read, beside pyarrow's own reader on the same file.

    python neptune.py [--points N] [--runs N]

The file is as neptune-exporter writes them: Snappy, a row group for each batch of attributes, all
columns. Every figure is the best of three.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve()
sys.path[:0] = [
    str(HERE.parents[1]),
    str(HERE.parents[2] / "bridge"),
    str(HERE.parents[2] / "adapters"),
]

from unit.neptune import exporting  # noqa: E402

from trackbridge.adapter import Query, RunRef  # noqa: E402
from trackbridge.optional import Excerpt  # noqa: E402
from trackbridge_adapters.neptune.reader import Export  # noqa: E402

BIG = RunRef("team/bench", "BIG-1")
KEYS = 100
GROUP = 1_000_000
NEEDED = ["project_id", "run_id", "attribute_path", "attribute_type", "step", "timestamp"]


def big_run(root: Path, points: int, *, fractions: bool = False) -> Path:
    """A run whose points are in row groups of a million, series after series."""
    names = pa.array([f"train/metric_{key:03d}" for key in range(KEYS)])
    path = exporting.part(root, *BIG)
    path.parent.mkdir(parents=True)
    per_key = points // KEYS
    with pq.ParquetWriter(path, exporting.SCHEMA, compression="snappy") as writer:
        writer.write_batch(_attributes(BIG))
        for start in range(0, per_key * KEYS, GROUP):
            rows = np.arange(start, min(start + GROUP, per_key * KEYS))
            steps = rows % per_key
            writer.write_batch(_points(names, rows // per_key, steps, fractions=fractions))
    return path


def _points(
    names: pa.Array, keys: np.ndarray, steps: np.ndarray, *, fractions: bool
) -> pa.RecordBatch:
    count = len(steps)
    digits = steps * (500_000 if fractions else 1_000_000)
    decimals = np.zeros((count, 2), "<i8")
    decimals[:, 0] = digits
    columns = {
        "project_id": pa.array([BIG.project]).take(pa.array(np.zeros(count, int))),
        "run_id": pa.array([BIG.run_id]).take(pa.array(np.zeros(count, int))),
        "attribute_path": names.take(pa.array(keys)),
        "attribute_type": pa.array(["float_series"]).take(pa.array(np.zeros(count, int))),
        "step": pa.Array.from_buffers(
            pa.decimal128(18, 6), count, [None, pa.py_buffer(decimals.tobytes())]
        ),
        "timestamp": pa.array(1_767_000_000_000 + steps).cast(pa.timestamp("ms", "UTC")),
        "float_value": pa.array(np.random.default_rng(1).random(count)),
    }
    arrays = [columns.get(field.name, pa.nulls(count, field.type)) for field in exporting.SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=exporting.SCHEMA)


def _attributes(ref: RunRef) -> pa.RecordBatch:
    rows = [
        exporting.single("sys/id", "string", ref.run_id),
        exporting.single("sys/name", "string", "bench"),
        exporting.single("sys/creation_time", "datetime", datetime.now(timezone.utc)),
        *(exporting.single(f"config/p{i}", "float", i / 7) for i in range(50)),
    ]
    labelled = [{"project_id": ref.project, "run_id": ref.run_id, **row} for row in rows]
    return pa.RecordBatch.from_pylist(labelled, schema=exporting.SCHEMA)


def many_runs(root: Path, runs: int) -> None:
    for number in range(runs):
        ref = RunRef("team/bench", f"RUN-{number}")
        path = exporting.part(root, *ref)
        path.parent.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(path, exporting.SCHEMA, compression="snappy") as writer:
            writer.write_batch(_attributes(ref))


def plain(path: Path) -> int:
    """pyarrow alone: the columns of points, in batches of the size that we give."""
    file = pq.ParquetFile(path, read_dictionary=NEEDED[:4])
    batches = file.iter_batches(65_536, columns=[*NEEDED, "float_value"])
    return sum(batch.num_rows for batch in batches)


def ours(root: Path) -> int:
    batches = Export(str(root)).read_runs([BIG], ["metrics"])
    return sum(batch.data.num_rows for batch in batches)


def one_key(root: Path) -> int:
    part = Excerpt(frozenset({"train/metric_042"}), 100, 200)
    return sum(batch.data.num_rows for batch in Export(str(root)).read_points([BIG], part))


def best(work: Callable[[], int]) -> tuple[int, float]:
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        count = work()
        times.append(time.perf_counter() - begun)
    return count, min(times)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--points", type=int, default=5_000_000)
    options.add_argument("--runs", type=int, default=2_000)
    wanted = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, fractions in (("whole steps", False), ("steps with fractions", True)):
            root = Path(folder, name)
            path = big_run(root, wanted.points, fractions=fractions)
            _, alone = best(lambda path=path: plain(path))  # type: ignore[misc]
            points, spent = best(lambda root=root: ours(root))  # type: ignore[misc]
            print(f"{name}: {points:,} points, {path.stat().st_size / 1e6:.0f} MB")
            print(f"  pyarrow.parquet alone  {points / alone / 1e6:6.1f} M points/s")
            print(f"  ours                   {points / spent / 1e6:6.1f} M points/s", end="")
            print(f"  ({alone / spent:.2f} of it)")
            some, spent = best(lambda root=root: one_key(root))  # type: ignore[misc]
            print(f"  one key, {some} of its steps: {spent:.3f} s")
        root = Path(folder, "many")
        many_runs(root, wanted.runs)
        found, spent = best(lambda: len(list(Export(str(root)).list_runs(Query()))))
        print(f"listing {found} runs, {KEYS // 2} attributes each: {found / spent:,.0f} runs/s")


if __name__ == "__main__":
    main()
