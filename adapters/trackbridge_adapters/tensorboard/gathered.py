"""Points of a part of an event file in columns, and the batches made of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trackbridge.adapter import Batch, Row, RunRef
from trackbridge.schema import BATCH_ROWS, TABLES, TIME
from trackbridge.times import micros, moment
from trackbridge_adapters.tensorboard import wire
from trackbridge_adapters.tensorboard.framing import Ints
from trackbridge_adapters.tensorboard.layouts import Columns
from trackbridge_adapters.tensorboard.scalars import Floats

COLUMNS = [field.name for field in TABLES["series"]][len(RunRef._fields) :]
FIRST_SECOND, LAST_SECOND = -62135596800, 253402300800
"""Years that a time has: 1 to 9999."""


class Numbers:
    """Points of `metrics`; they come in any order, each with its place in the part of the file."""

    def __init__(self) -> None:
        self._parts: list[tuple[Ints, Ints, Ints, Floats, Floats]] = []
        self._single: list[tuple[int, int, int, float, float]] = []

    def add(self, places: Ints, codes: Ints, steps: Ints, times: Floats, values: Floats) -> None:
        self._parts.append((places, codes, steps, times, values))

    def one(self, place: int, code: int, event: wire.Event, value: float) -> None:
        self._single.append((place, code, event.step, event.time, value))

    def columns(self) -> tuple[Any, ...]:
        """Code, step, time in seconds and value, in the file's order."""
        kinds = (np.int64, np.int64, np.int64, np.float64, np.float64)
        single = list(zip(*self._single)) or [()] * len(kinds)
        joined = [
            np.concatenate([*(part[place] for part in self._parts), np.array(single[place], kind)])
            for place, kind in enumerate(kinds)
        ]
        order = np.argsort(joined[0], kind="stable")
        return tuple(column[order] for column in joined[1:])


class Series:
    """Points of `series`; they come in any order, each with its place in the part of the file."""

    def __init__(self, ref: RunRef) -> None:
        self._ref = ref
        self._places: list[Ints] = []
        self._parts: list[list[pa.Array]] = []
        self._single: list[tuple[int, tuple[Any, ...]]] = []

    def add(self, key: str, place: int, event: wire.Event, row: Row) -> None:
        """A point: `row` is its kind, its value and its path, if it has one."""
        about = {"key": key, "step": event.step, "time": nearest(event.time)}
        self._append(place, {**about, **row})

    def add_whole(self, place: int, row: Row) -> None:
        """A point that has its own key, step and time."""
        self._append(place, {**row, "time": micros(row["time"])})

    def add_columns(
        self, places: Ints, keys: pa.Array, steps: Ints, times: Floats, taken: Columns
    ) -> None:
        """Points of one kind; `times` are seconds."""
        count, (us, known) = len(places), microseconds(times)
        rows, kinds = pa.nulls(count, pa.int64()), pa.repeat(pa.scalar(taken.kind), count)
        paths = pa.nulls(count, pa.string()) if taken.paths is None else taken.paths
        when = pa.array(us, mask=~known)
        self._places.append(places)
        self._parts.append([keys, pa.array(steps), when, rows, kinds, taken.values, paths])

    def batches(self) -> Iterator[Batch]:
        """All of them, in the file's order."""
        schema = TABLES["series"]
        alone = np.array([place for place, _ in self._single], np.int64)
        places = np.concatenate([*self._places, alone])
        if not len(places):
            return
        kinds = [pa.int64() if kind == TIME else kind for kind in map(_kind, COLUMNS)]
        rows = zip(*(row for _, row in self._single)) if self._single else [()] * len(COLUMNS)
        single = [pa.array(values, kind) for values, kind in zip(rows, kinds)]
        columns = [pa.chunked_array(parts) for parts in zip(*self._parts, single)]
        order = pa.array(np.argsort(places, kind="stable"))
        for start in range(0, len(places), BATCH_ROWS):
            chosen = order.slice(start, BATCH_ROWS)
            arrays = [pa.repeat(pa.scalar(text), len(chosen)) for text in self._ref]
            for name, column in zip(COLUMNS, columns):
                arrays.append(column.take(chosen).combine_chunks().cast(_kind(name)))
            yield Batch("series", pa.RecordBatch.from_arrays(arrays, schema=schema))

    def _append(self, place: int, row: Row) -> None:
        self._single.append((place, tuple(map(row.get, COLUMNS))))


def _kind(column: str) -> pa.DataType:
    return TABLES["series"].field(column).type


def microseconds(seconds: Floats) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Times as the nearest microseconds, and which of them are times."""
    known = (seconds >= FIRST_SECOND) & (seconds < LAST_SECOND)
    return np.rint(np.where(known, seconds, 0) * 1e6).astype(np.int64), known


def nearest(seconds: float) -> int | None:
    """A time in seconds as the nearest microsecond, if it is one."""
    if not FIRST_SECOND <= seconds < LAST_SECOND:
        return None
    return round(seconds * 1e6)


def when(seconds: float) -> datetime | None:
    """The same as a time."""
    return moment(nearest(seconds))
