"""Points of the run model as rows of MLflow's tables `metrics` and `latest_metrics`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trackbridge.columns import codes, groups, numpy_of
from trackbridge.schema import BATCH_ROWS
from trackbridge_adapters.mlflow.entities import SYSTEM

COLUMNS = ("run_uuid", "key", "step", "timestamp", "value", "is_nan")


class Points:
    """Turns batches into rows, metric by metric for the sake of the indexes, and keeps the latest.

    The latest point of a metric is that of the greatest (step, timestamp, value), NaN counting
    as 0 (sqlalchemy_store.py, `_update_latest_metrics_if_necessary`, 3.17).
    """

    def __init__(self) -> None:
        self._waiting: list[pa.RecordBatch] = []
        self._count = 0
        self._latest: list[pa.RecordBatch] = []

    def know(self, latest: Sequence[tuple[Any, ...]]) -> None:
        """Take the latest points of what is there already: rows of `COLUMNS`."""
        if latest:
            run, key, step, time, value, is_nan = zip(*latest)
            columns = [
                pa.array(run, pa.string()).dictionary_encode(),
                pa.array(key, pa.string()).dictionary_encode(),
                pa.array(map(int, step), pa.int64()),
                pa.array(map(int, time), pa.int64()),
                pa.array(map(float, value), pa.float64()),
                pa.array(map(int, is_nan), pa.int8()),
            ]
            self._latest.append(pa.RecordBatch.from_arrays(columns, names=COLUMNS))

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
        columns = [
            data.column("run_id"),
            _native_keys(data.column("key"), np.array(data.column("system"))),
            data.column("step"),
            pa.array(numpy_of(data.column("time").cast(pa.int64()), np.int64) // 1000),
            pa.array(value),
            pa.array(is_nan.astype(np.int8)),
        ]
        rows = pa.RecordBatch.from_arrays(columns, names=COLUMNS)
        metric, first = groups(rows, "run_uuid", "key")
        self._latest.append(rows.take(pa.array(_latest(rows, metric, len(first)))))
        order = np.argsort(metric, kind="stable")
        return pa.Table.from_batches([rows.take(pa.array(order))])

    def latest(self) -> pa.Table | None:
        """Rows of `latest_metrics` for all batches together."""
        if not self._latest:
            return None
        table = pa.Table.from_batches(self._latest).unify_dictionaries().combine_chunks()
        [rows] = table.to_batches()
        metric, first = groups(rows, "run_uuid", "key")
        return pa.Table.from_batches([rows.take(pa.array(_latest(rows, metric, len(first))))])


def _latest(
    rows: pa.RecordBatch, metric: npt.NDArray[np.int64], count: int
) -> npt.NDArray[np.int64]:
    """The latest row of each metric; only those of its greatest step have to be sorted."""
    step = rows.column("step").to_numpy()
    greatest = np.full(count, np.iinfo(np.int64).min)
    np.maximum.at(greatest, metric, step)
    at = np.flatnonzero(step == greatest[metric])
    time, value = (rows.column(name).to_numpy()[at] for name in ("timestamp", "value"))
    at = at[np.lexsort((value, time, metric[at]))]
    return at[np.flatnonzero(np.diff(metric[at], append=-1))]


def _native_keys(keys: pa.DictionaryArray, system: npt.NDArray[np.bool_]) -> pa.DictionaryArray:
    if not system.any():
        return keys
    names = keys.dictionary.to_pylist()
    both = pa.array(names + [SYSTEM + name for name in names])
    indices = codes(keys) + system * len(names)
    return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), both)
