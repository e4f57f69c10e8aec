"""The points of metrics, series by series, as pages draw them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from trackbridge.adapter import RunRef
from trackbridge.columns import groups, label, numpy_of
from trackbridge.extremes import Points


def series_of(data: pa.RecordBatch) -> Iterator[tuple[RunRef, str, bool, Points]]:
    """The points of each series in a batch of the table metrics: run, key, whether the tracker
    measured it, and steps, times and values (3, points)."""
    group, first = groups(data, "project", "run_id", "key")
    system = numpy_of(data.column("system").fill_null(False), np.int64)
    group = 2 * group + system
    order = np.argsort(group, kind="stable")
    points = np.vstack([_floats(data.column("step")), _times(data), _floats(data.column("value"))])
    points = points[:, order]
    edges = np.flatnonzero(np.diff(group[order], prepend=-1)).tolist()
    for start, stop in zip(edges, [*edges[1:], data.num_rows]):
        number, measured = divmod(int(group[order[start]]), 2)
        row = first[number]
        key = data.column("key")[row].as_py()
        yield label(data, row), key, bool(measured), points[:, start:stop]


def _floats(column: pa.Array) -> Points:
    numbers = column.cast(pa.float64(), safe=False)
    return np.asarray(numbers.fill_null(np.nan).to_numpy(zero_copy_only=False), np.float64)


def _times(data: pa.RecordBatch) -> Points:
    return _floats(data.column("time").cast(pa.int64())) / 1000
