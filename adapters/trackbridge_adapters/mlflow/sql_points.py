"""Metrics of MLflow's databases as record batches: columnar, with no Python object per point."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trackbridge.columns import within
from trackbridge.optional import Excerpt
from trackbridge.schema import TABLES, TIME
from trackbridge_adapters.mlflow.entities import SYSTEM, text
from trackbridge_adapters.mlflow.session import EVERY_POINT, Session


class Points:
    """Points of the runs that `projects` maps to their project label, batch by batch.

    All of them, or those in an excerpt, or those in a piece of the only run.

    Where a batch is not as MLflow writes it, `irregular` is set, and what is no number is null;
    `Session.bad_points` names it.
    """

    def __init__(
        self,
        session: Session,
        projects: Mapping[str, str],
        excerpt: Excerpt = EVERY_POINT,
        piece: str | None = None,
    ) -> None:
        self._session = session
        self._projects = projects
        self._excerpt, self._piece = excerpt, piece
        self.irregular = False

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        runs = list(self._projects)
        batches = (
            self._session.points(runs, self._excerpt)
            if self._piece is None
            else self._session.piece(runs[0], self._piece)
        )
        for data in batches:
            rows = within(self._batch(data), self._excerpt)
            if rows.num_rows:
                yield rows

    def _batch(self, data: pa.RecordBatch) -> pa.RecordBatch:
        """Columns of the table as rows of the run model; points without a run are left out."""
        key, run, value, timestamp, step, is_nan = data.columns
        self.irregular |= any(column.null_count for column in data.columns)
        odd = is_nan.cast(pa.bool_())
        if pc.any(odd).as_py():
            value = pc.if_else(odd, math.nan, value)
        keys, system = self._split_system(key.dictionary_encode())
        runs = run.dictionary_encode()
        labels = [self._projects.get(run_id) for run_id in runs.dictionary.to_pylist()]
        projects = pa.array(labels, pa.string()).dictionary_encode()
        index = projects.indices.take(runs.indices)
        columns = [
            pa.DictionaryArray.from_arrays(index, projects.dictionary),
            runs,
            keys,
            step.cast(pa.int64()),
            timestamp.cast(pa.timestamp("ms", "UTC")).cast(TIME),
            pa.nulls(len(step), pa.int64()),
            value,
            system,
        ]
        rows = pa.RecordBatch.from_arrays(columns, schema=TABLES["metrics"])
        return rows.filter(index.is_valid()) if None in labels else rows

    def _split_system(self, keys: pa.DictionaryArray) -> tuple[pa.DictionaryArray, pa.Array]:
        """Names without the prefix of system metrics, and which rows had it."""
        garbled: list[str] = []
        raw = keys.dictionary.cast(pa.binary()).to_pylist()
        names = [text(name, "", garbled) or "" for name in raw]
        self.irregular |= bool(garbled)
        system = np.array([name.startswith(SYSTEM) for name in names], np.bool_)
        if not garbled and not system.any():
            return keys, pa.repeat(pa.scalar(False), len(keys))
        short = pa.array([name.removeprefix(SYSTEM) for name in names]).dictionary_encode()
        codes = keys.indices.to_numpy()
        indices = pa.array(short.indices.to_numpy()[codes], pa.int32())
        return pa.DictionaryArray.from_arrays(indices, short.dictionary), pa.array(system[codes])
