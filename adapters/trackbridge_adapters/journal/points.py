"""Decodes windows of frames into columns: rows of `metrics` and of `series`."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trackbridge.adapter import Batch, RunRef
from trackbridge.columns import batches, sliced
from trackbridge.dual import frames, scanning
from trackbridge.dual.frames import NONE, SYSTEM
from trackbridge.dual.records import is_int
from trackbridge.dual.scanning import Window
from trackbridge.schema import CODE, TABLES, TIME
from trackbridge.times import moment

Ints = npt.NDArray[np.int64]
Rows = Callable[[Ints], Ints]
"""Rows of a process -> rows of the run."""


def same(rows: Ints) -> Ints:
    """For runs whose processes have numbered their calls one after the other."""
    return rows


class Decoder:
    """Decodes the windows of one file.

    `whole` are the rows that are told anew as a whole, by records of that kind; without it, such
    records are passed over.
    """

    def __init__(
        self,
        ref: RunRef,
        rows: Rows = same,
        keys: Mapping[int, list[str]] | None = None,
        whole: frozenset[int] | None = None,
    ) -> None:
        self.keys = dict(keys or {})
        """Lists of keys by their numbers: those that `scan` knows."""
        self._ref, self._rows = ref, rows
        self._told = whole is not None
        self._void = np.array(sorted(whole or ()), np.int64)
        self._codes: dict[str, int] = {}

    def batches(self, data: bytes | mmap.mmap, window: Window) -> Iterator[Batch]:
        whole = np.frombuffer(data, np.uint8)
        for values, starts in window.points.items():
            if values:
                found = self._frames(whole, values, starts)
                if len(self._void):
                    found = found[~np.isin(found["row"], self._void)]
                if len(found):
                    yield from sliced("metrics", self._metrics(found, values))
        del whole  # else the file could not be closed
        void = set(self._void.tolist())
        series = [r for r in window.records if r["t"] == "series" and r["row"] not in void]
        if self._told:
            told = [record for record in window.records if record["t"] == "whole"]
            yield from self._whole(told)
            series += told
        yield from self._series(series)

    def calls(self, data: bytes | mmap.mmap, window: Window) -> tuple[Ints, Ints]:
        """Row and time of each call in a window."""
        whole = np.frombuffer(data, np.uint8)
        parts = [self._frames(whole, *item) for item in window.points.items()]
        del whole
        series = [record for record in window.records if record["t"] == "series"]
        rows = [*(part["row"] for part in parts), [record["row"] for record in series]]
        times = [*(part["time"] for part in parts), [record["at"] for record in series]]
        joined = (
            np.concatenate([np.asarray(part, np.int64) for part in each]) for each in (rows, times)
        )
        return next(joined), next(joined)

    def open_row(self, data: bytes | mmap.mmap, window: Window) -> int | None:
        """Where the last row begins that is logged in a window, if more may come to it."""
        if any(record["t"] == "end" for record in window.records):
            return None
        whole = np.frombuffer(data, np.uint8)
        places: list[tuple[int, int, bool]] = []
        for values, starts in window.points.items():
            found = self._frames(whole, values, starts)
            own = found["flags"] & SYSTEM == 0
            last = found["row"] == found["row"][own].max(initial=NONE)
            closed = (found["flags"] & frames.CLOSED != 0)[last].any()
            if (those := np.flatnonzero(last & own)).size:
                first = int(those[0])
                places.append((int(found["row"][first]), starts[first], bool(closed)))
        del whole
        for record, at in zip(window.records, window.places):
            if record["t"] == "series":
                places.append((record["row"], at, bool(record.get("closed"))))
        row = max((row for row, _, _ in places), default=NONE)
        if row == NONE or any(closed for number, _, closed in places if number == row):
            return None
        return min(at for number, at, _ in places if number == row)

    def _frames(self, whole: Any, values: int, starts: list[int]) -> Any:
        """Frames of one length as an array of records, wherever they lie in the file."""
        size = scanning.size(values)
        at = np.array(starts, np.int64)
        if len(starts) == 1 or (np.diff(at) == size).all():
            raw = whole[at[0] : at[0] + size * len(starts)].copy()
        else:
            raw = whole[at[:, None] + np.arange(size)].reshape(-1)
        return raw.view(np.dtype(scanning.dtype(values)))

    def _metrics(self, found: Any, values: int) -> pa.RecordBatch:
        used, numbers = np.unique(found["keys"], return_inverse=True)
        lists = np.array([self._coded(number) for number in used.tolist()], np.int32)
        count = len(found) * values
        rows = found["row"]
        known = rows != NONE
        rows = np.where(known, self._rows(rows), NONE)
        places = (_repeated(column, values) for column in (found["step"], found["time"], rows))
        step, time, row = places
        columns = [
            *(_constant(text, count) for text in self._ref),
            pa.DictionaryArray.from_arrays(
                pa.array(lists[numbers].reshape(-1)), pa.array(list(self._codes), pa.string())
            ).cast(CODE),
            *(step, time.cast(TIME), row),
            pa.array(found["values"].reshape(-1)),
            pa.array(np.repeat((found["flags"] & SYSTEM) != 0, values)),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=TABLES["metrics"])

    def _coded(self, number: int) -> list[int]:
        """The keys of a list, as codes of a dictionary that grows."""
        return [self._codes.setdefault(key, len(self._codes)) for key in self.keys[number]]

    def _whole(self, records: list[dict[str, Any]]) -> Iterator[Batch]:
        """The numbers of rows that are told anew."""
        rows = self._rows(np.array([record["row"] for record in records], np.int64)).tolist()
        yield from batches(
            "metrics",
            (
                {**self._ref._asdict(), "key": key, "value": value, "system": False}
                | {"step": _known(record["step"]), "row": _known(row), "time": when(record["at"])}
                for record, row in zip(records, rows)
                for key, value in zip(record["keys"], record["values"])
            ),
        )

    def _series(self, records: list[dict[str, Any]]) -> Iterator[Batch]:
        rows = self._rows(np.array([record["row"] for record in records], np.int64)).tolist()
        yield from batches(
            "series",
            (
                {**self._ref._asdict(), "key": key, "kind": kind, "value": value, "path": path}
                | {"step": _known(record["step"]), "row": _known(row), "time": when(record["at"])}
                for record, row in zip(records, rows)
                for key, kind, value, path in record["items"]
            ),
        )


def when(at: Any) -> datetime | None:
    """A time in microseconds, if it is one, which `NONE` is not."""
    return moment(at) if is_int(at) else None


def _known(value: int) -> int | None:
    return None if value == NONE else value


def _repeated(column: Ints, values: int) -> pa.Array:
    """A column of calls for each of their values; null where nothing is known."""
    spread = np.repeat(column, values)
    return pa.array(spread, mask=spread == NONE)


def _constant(text: str, count: int) -> pa.Array:
    indices = pa.array(np.zeros(count, np.int32))
    return pa.DictionaryArray.from_arrays(indices, pa.array([text], pa.string())).cast(CODE)
