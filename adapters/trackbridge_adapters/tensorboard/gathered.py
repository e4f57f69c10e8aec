"""Points of a part of an event file in columns, and the batches made of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa

from trackbridge.adapter import Batch, Row, RunRef
from trackbridge.columns import sliced
from trackbridge.schema import TABLES, TIME
from trackbridge_adapters.tensorboard import wire
from trackbridge_adapters.tensorboard.framing import Ints
from trackbridge_adapters.tensorboard.scalars import Floats
from trackbridge_adapters.tensorboard.texts import Texts
from trackbridge_adapters.tensorboard.values import text_json

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
COLUMNS = [field.name for field in TABLES["series"]][len(RunRef._fields) :]
MICROSECOND = timedelta(microseconds=1)
FIRST_SECOND, LAST_SECOND = -62135596800, 253402300800
"""Years that a time has: 1 to 9999."""


class Numbers:
    """Points of `metrics`; they come in any order."""

    def __init__(self) -> None:
        self._parts: list[tuple[Ints, Ints, Ints, Floats, Floats]] = []
        self._single: list[tuple[int, int, int, float, float]] = []

    def add(self, rows: Ints, codes: Ints, steps: Ints, times: Floats, values: Floats) -> None:
        self._parts.append((rows, codes, steps, times, values))

    def one(self, row: int, code: int, event: wire.Event, value: float) -> None:
        self._single.append((row, code, event.step, event.time, value))

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
    """Points of `series`; they come in any order, those of one record in theirs."""

    def __init__(self, ref: RunRef) -> None:
        self._ref = ref
        self._numbers: list[int] = []
        self._columns: list[list[Any]] = [[] for _ in COLUMNS]

    def add(self, key: str, number: int, event: wire.Event, row: Row) -> None:
        """A point of a record: `row` is its kind, its value and its path, if it has one."""
        about = {"key": key, "step": event.step, "time": micros(event.time)}
        self._append(number, {**about, **row})

    def add_whole(self, number: int, row: Row) -> None:
        """A point that has its own key, step and time."""
        time = row["time"]
        self._append(number, {**row, "time": time and (time - EPOCH) // MICROSECOND})

    def add_texts(self, found: Texts) -> None:
        keys = [found.kinds[kind][0] for kind in found.kind.tolist()]
        steps, times = found.steps.tolist(), map(micros, found.times.tolist())
        values = map(text_json, found.texts)
        nulls, kinds = [None] * len(keys), ["text"] * len(keys)
        self._numbers += found.rows.tolist()
        told = (keys, steps, times, nulls, kinds, values, nulls)
        for column, part in zip(self._columns, told):
            column += part

    def batches(self) -> Iterator[Batch]:
        """All of them, in the file's order."""
        schema, count = TABLES["series"], len(self._numbers)
        if not count:
            return
        arrays = [pa.repeat(pa.scalar(text), count) for text in self._ref]
        for name, values in zip(COLUMNS, self._columns):
            kind = schema.field(name).type
            arrays.append(pa.array(values, pa.int64() if kind == TIME else kind).cast(kind))
        data = pa.RecordBatch.from_arrays(arrays, schema=schema)
        order = np.argsort(self._numbers, kind="stable")
        yield from sliced("series", data.take(pa.array(order)))

    def _append(self, number: int, row: Row) -> None:
        self._numbers.append(number)
        for column, name in zip(self._columns, COLUMNS):
            column.append(row.get(name))


def micros(seconds: float) -> int | None:
    """A time in seconds as the nearest microsecond, if it is one."""
    if not FIRST_SECOND <= seconds < LAST_SECOND:
        return None
    return round(seconds * 1e6)


def when(seconds: float) -> datetime | None:
    """The same as a time."""
    us = micros(seconds)
    return None if us is None else EPOCH + us * MICROSECOND
