"""Times of points that no calendar has, or that a double of seconds does not tell apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from trackbridge.adapter import Batch, Query, Reader, RunKey, Writer
from trackbridge.columns import batches
from trackbridge.schema import TABLES, TIME
from trackbridge.transfer import move
from trackbridge_adapters.archive import ADAPTER as ARCHIVE
from trackbridge_adapters.wandb import ADAPTER
from trackbridge_adapters.wandb.points import TIMES

KEY = RunKey("mlflow", "", "an experiment", "0123456789abcdef0123456789abcdef")
NOW = 1_700_000_000_123_456
YEAR_57889 = NOW * 1000
"""A time whose microseconds were logged as milliseconds."""


def archive_of(place: Path, times: list[int]) -> Reader:
    """An archive with a run that has a point at each of the times, in steps of their order."""
    target = ARCHIVE.writer(str(place), {})
    label = {"project": KEY.project, "run_id": KEY.run_id}
    steps = pa.array(np.arange(len(times)))
    texts = [
        pa.array([text] * len(times)).dictionary_encode() for text in (*label.values(), "loss")
    ]
    columns = [*texts, steps, pa.array(times).cast(TIME), steps, steps.cast(pa.float64())]
    columns.append(pa.repeat(pa.scalar(False), len(times)))
    with target.open([KEY]) as sink:
        for batch in batches("runs", [{**label, "status": "finished", "deleted": False}]):
            sink.write(batch)
        data = pa.RecordBatch.from_arrays(columns, schema=TABLES["metrics"])
        sink.write(Batch("metrics", data))
        sink.commit()
    return ARCHIVE.reader(str(place), {})


def native_times(target: Writer) -> list[int]:
    found = [
        batch.data.column("time").cast(pa.int64())
        for batch in target.read_runs([target.target(KEY)], ["metrics"])
    ]
    return list(pa.concat_arrays(found).to_pylist())


@pytest.mark.parametrize(
    ("time", "shown"),
    [
        (YEAR_57889, TIMES[1]),
        (2**63 - 1, TIMES[1]),
        (TIMES[1] + 7, TIMES[1]),
        (TIMES[1], TIMES[1]),
        (-YEAR_57889, TIMES[0]),
        (TIMES[0] - 7, TIMES[0]),
        (TIMES[0], TIMES[0]),
    ],
)
def test_times_that_run_files_cannot_tell_are_shown_at_the_bound_and_come_back(
    time: int, shown: int, tmp_path: Path
) -> None:
    source = archive_of(tmp_path / "archive", [NOW, time, NOW + 1])
    target = ADAPTER.writer(str(tmp_path / "wandb"), {})
    moved = move(source, target, list(source.list_runs(Query())))
    assert moved.failures == {}
    assert native_times(target) == [NOW, shown, NOW + 1]
