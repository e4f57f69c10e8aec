"""Points of the run model as rows of MLflow's tables `metrics` and `latest_metrics`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trackbridge.columns import codes, numpy_of
from trackbridge.schema import BATCH_ROWS
from trackbridge_adapters.mlflow.entities import SYSTEM

COLUMNS = ("run_uuid", "key", "step", "timestamp", "value", "is_nan")


class Points:
    """Turns batches into rows, sorted so that the indexes grow in order, and keeps the latest.

    The latest point of a metric is that of the greatest (step, timestamp, value), NaN counting
    as 0 (sqlalchemy_store.py, `_update_latest_metrics_if_necessary`, 3.17).
    """

    def __init__(self) -> None:
        self._waiting: list[pa.RecordBatch] = []
        self._count = 0
        self._latest: list[pa.Table] = []

    def add(self, data: pa.RecordBatch) -> pa.Table | None:
        """Take a batch; gives rows of `metrics` whenever there are enough for one insertion."""
        self._waiting.append(data)
        self._count += data.num_rows
        return self.rest() if self._count >= BATCH_ROWS else None

    def rest(self) -> pa.Table | None:
        """Rows of `metrics` for the batches that still wait."""
        if not self._waiting:
            return None
        together = pa.Table.from_batches(self._waiting).unify_dictionaries().combine_chunks()
        self._waiting, self._count = [], 0
        parts = [self._rows(batch) for batch in together.to_batches() if batch.num_rows]
        return pa.concat_tables(parts) if parts else None

    def _rows(self, data: pa.RecordBatch) -> pa.Table:
        value = numpy_of(data.column("value"), np.float64)
        is_nan = np.isnan(value)
        value[is_nan] = 0.0
        time = numpy_of(data.column("time").cast(pa.int64()), np.int64) // 1000
        step = numpy_of(data.column("step"), np.int64)
        run = data.column("run_id")
        key = _native_keys(data.column("key"), np.array(data.column("system")))
        order = np.lexsort((value, time, step, codes(key), codes(run)))
        index = pa.array(order)
        rows = pa.table(
            [
                run.take(index),
                key.take(index),
                step[order],
                time[order],
                value[order],
                is_nan[order].astype(np.int8),
            ],
            names=COLUMNS,
        )
        self._latest.append(rows.take(pa.array(_last(codes(key)[order], codes(run)[order]))))
        return rows

    def latest(self) -> pa.Table | None:
        """Rows of `latest_metrics` for all batches together."""
        if not self._latest:
            return None
        rows = pa.concat_tables(self._latest).unify_dictionaries().combine_chunks()
        names = ("value", "timestamp", "step", "key", "run_uuid")
        columns = [_numbers(rows.column(name).combine_chunks()) for name in names]
        order = np.lexsort(columns)
        last = _last(columns[3][order], columns[4][order])
        return rows.take(pa.array(order[last]))


def _native_keys(keys: pa.DictionaryArray, system: npt.NDArray[np.bool_]) -> pa.DictionaryArray:
    if not system.any():
        return keys
    names = keys.dictionary.to_pylist()
    both = pa.array(names + [SYSTEM + name for name in names])
    indices = codes(keys) + system * len(names)
    return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), both)


def _last(*sorted_codes: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Rows after which one of the sorted columns changes."""
    size = len(sorted_codes[0])
    ends = np.zeros(size, np.bool_)
    if size:
        ends[-1] = True
    for column in sorted_codes:
        ends[:-1] |= column[1:] != column[:-1]
    return np.flatnonzero(ends)


def _numbers(column: pa.Array) -> npt.NDArray[Any]:
    if pa.types.is_dictionary(column.type):
        return codes(column)
    return np.asarray(column.to_numpy())
