"""How fast points become event files: ours and tensorboardX's writer, on the same points.

python tests/benchmarks/tensorboard_write.py [POINTS]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from tensorboardX import SummaryWriter

from trackbridge.adapter import Batch, RunKey
from trackbridge.schema import BATCH_ROWS, CODE, TABLES, TIME
from trackbridge_adapters.tensorboard import ADAPTER

KEY = RunKey("benchmark", "", "speed", "run")
TAGS = [f"layer_{n}/loss" for n in range(10)]
FEW = 50_000
"""Points that the other writer is given: it is slow."""


def batches(count: int) -> list[Batch]:
    """Points of some tags, doubles that are not whole in single precision."""
    values = np.random.default_rng(0).random(count)
    ref = ADAPTER.writer("unused", {}).target(KEY)
    found = []
    for start in range(0, count, BATCH_ROWS):
        number = np.arange(start, min(start + BATCH_ROWS, count))
        same = pa.array(np.zeros(len(number), np.int32))
        keys = pa.array((number % len(TAGS)).astype(np.int32))
        columns = [
            *(pa.DictionaryArray.from_arrays(same, pa.array([text])) for text in ref),
            pa.DictionaryArray.from_arrays(keys, pa.array(TAGS)).cast(CODE),
            pa.array(number // len(TAGS)),
            pa.array(1_700_000_000_000_000 + number * 1000).cast(TIME),
            pa.nulls(len(number), pa.int64()),
            pa.array(values[number]),
            pa.array(np.zeros(len(number), np.bool_)),
        ]
        data = pa.RecordBatch.from_arrays(columns, schema=TABLES["metrics"])
        found.append(Batch("metrics", data))
    row = [{**ref._asdict(), "deleted": False}]
    return [*found, Batch("runs", pa.RecordBatch.from_pylist(row, schema=TABLES["runs"]))]


def ours(folder: Path, given: list[Batch]) -> float:
    begun = time.perf_counter()
    with ADAPTER.writer(str(folder), {}).open([KEY]) as sink:
        for batch in given:
            sink.write(batch)
        sink.commit()
    return time.perf_counter() - begun


def theirs(folder: Path, count: int) -> float:
    values = np.random.default_rng(0).random(count).tolist()
    begun = time.perf_counter()
    with SummaryWriter(str(folder)) as writer:
        for number, value in enumerate(values):
            writer.add_scalar(TAGS[number % len(TAGS)], value, number // len(TAGS), 1.7e9 + number)
    return time.perf_counter() - begun


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000
    with tempfile.TemporaryDirectory() as folder:
        ours(Path(folder, "warm"), batches(1000))
        given = batches(count)
        speed = count / ours(Path(folder, "ours"), given)
        other = FEW / theirs(Path(folder, "theirs"), FEW)
    print(f"trackbridge   {speed:12,.0f} points/s")
    print(f"tensorboardX  {other:12,.0f} points/s  ({speed / other:.0f} times slower)")


if __name__ == "__main__":
    main()
