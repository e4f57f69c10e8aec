"""What of a run's points a store does not hold, gathered so that it can be put back exactly.

A store may change the step, time and row of a point. Mostly it changes them alike for all points
of a log call, so a move is kept per call (`key` null: native step, time and row -> original ones)
and per point only where the points of a call differ. Points whose value the store cannot hold
are kept whole, with the hash of the native row that has to be hidden in their place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trackbridge.columns import codes, numpy_of
from trackbridge.digest import U64, mix, point_hashes, text_hash
from trackbridge.fit import Mask
from trackbridge.schema import CODE, INT, TABLES, TIME

Ints = npt.NDArray[np.int64]

MOVES = pa.schema(
    [
        ("key", CODE),
        ("system", pa.bool_()),
        ("native_step", INT),
        ("native_time", TIME),
        ("native_row", INT),
        ("step", INT),
        ("time", TIME),
        ("row", INT),
    ]
)
NO_ROW = -1
"""Stands for a null `row`, which is an ordinal and never negative."""


class Places(NamedTuple):
    """Where points lie, as columns; `row` is NO_ROW where it is null."""

    step: Ints
    time: Ints
    row: Ints

    @classmethod
    def of(cls, data: pa.RecordBatch | pa.Table, prefix: str = "") -> Places:
        step, time, row = (data.column(prefix + name) for name in ("step", "time", "row"))
        if isinstance(data, pa.Table):
            step, time, row = (c.combine_chunks() for c in (step, time, row))
        return cls(
            numpy_of(step.fill_null(0), np.int64),
            numpy_of(time.cast(pa.int64()).fill_null(0), np.int64),
            numpy_of(row.fill_null(NO_ROW), np.int64),
        )

    def differ(self, other: Places) -> Mask:
        return np.asarray(
            (self.step != other.step) | (self.time != other.time) | (self.row != other.row)
        )

    def take(self, index: npt.NDArray[np.intp] | Mask) -> Places:
        return Places(self.step[index], self.time[index], self.row[index])

    def hashes(self, system: Mask) -> U64:
        """A 64-bit hash of each log call: its native step, time and row."""
        state = system.astype(np.uint64)
        for column in self:
            state = mix(state ^ column.view(np.uint64))
        return state

    def arrays(self) -> list[pa.Array]:
        row = pa.array(self.row, mask=self.row == NO_ROW)
        return [pa.array(self.step), pa.array(self.time).cast(TIME), row]


def call_hashes(data: pa.RecordBatch) -> tuple[U64, U64]:
    """Hash of each native point's log call, and of the point within it (its key too)."""
    system = np.array(data.column("system").fill_null(False))
    calls = Places.of(data).hashes(system)
    return calls, key_hashes(calls, data.column("key"))


def key_hashes(calls: U64, keys: pa.DictionaryArray) -> U64:
    names = [text_hash(name) for name in keys.dictionary.to_pylist()]
    return mix(calls ^ np.array(names or [0], np.uint64)[codes(keys)])


class PointResidual:
    """The residual of one run's points, fed with its batches."""

    def __init__(self) -> None:
        self._moves: list[pa.RecordBatch] = []
        self._whole: list[pa.RecordBatch] = []
        self._hidden: list[U64] = []

    def __bool__(self) -> bool:
        return bool(self._moves or self._whole or self._hidden)

    def add(self, source: pa.RecordBatch, native: pa.RecordBatch, whole: Mask, drop: Mask) -> None:
        """Points and, row by row, what becomes of them; `drop`: not written to the store."""
        before, after = Places.of(source), Places.of(native)
        if before.differ(after).any():
            whole = whole | self._add_moves(before, after, native, whole)
        if whole.any():
            mask = pa.array(whole)
            self._whole.append(source.filter(mask))
            self.hide(native.filter(pa.array(whole & ~drop)))

    def hide(self, native: pa.RecordBatch) -> None:
        """Native points that are not the run's own or stand for points kept whole."""
        if native.num_rows:
            self._hidden.append(point_hashes(native))

    def _add_moves(
        self, before: Places, after: Places, native: pa.RecordBatch, whole: Mask
    ) -> Mask:
        calls, points = call_hashes(native)
        _, first, call = np.unique(calls, return_index=True, return_inverse=True)
        self._append(before, after, native, first, keyed=False)
        strays = before.differ(before.take(first[call.reshape(-1)])) & ~whole
        if not strays.any():
            return strays
        _, index, count = np.unique(points, return_inverse=True, return_counts=True)
        ambiguous = strays & (count[index.reshape(-1)] > 1)
        self._append(before, after, native, np.flatnonzero(strays & ~ambiguous), keyed=True)
        return ambiguous

    def _append(
        self,
        before: Places,
        after: Places,
        native: pa.RecordBatch,
        index: npt.NDArray[np.intp],
        *,
        keyed: bool,
    ) -> None:
        rows = native.take(pa.array(index))
        key = rows.column("key") if keyed else pa.nulls(len(index), CODE)
        columns = [key, rows.column("system")]
        columns += after.take(index).arrays() + before.take(index).arrays()
        self._moves.append(pa.RecordBatch.from_arrays(columns, schema=MOVES))

    def moves(self) -> pa.Table | None:
        """Every move, calls first, in the order of the native points; None if there is none.

        Calls that move nothing are left out.
        """
        if not self._moves:
            return None
        table = pa.Table.from_batches(self._moves).unify_dictionaries()
        changed = Places.of(table).differ(Places.of(table, "native_"))
        keyed = ~np.array(table.column("key").combine_chunks().is_null())
        table = table.filter(pa.array(changed | keyed))
        order = [("native_row", "ascending"), ("native_step", "ascending")]
        return table.sort_by([*order, ("native_time", "ascending")])

    def whole(self) -> pa.Table:
        """Points kept as they were; their labels mean nothing."""
        return pa.Table.from_batches(self._whole, TABLES["metrics"]).unify_dictionaries()

    def hidden(self) -> pa.Table:
        """Hashes (`digest.point_hashes`) of native points to leave out on reading."""
        hashes = np.concatenate(self._hidden) if self._hidden else np.zeros(0, np.uint64)
        return pa.table({"hash": hashes})


class PointRestoration:
    """Puts a residual back over native points, batch by batch."""

    def __init__(
        self, moves: pa.Table | None, whole: pa.Table | None, hidden: pa.Table | None
    ) -> None:
        self._whole = whole
        self._hidden = None if hidden is None else np.sort(hidden.column("hash").to_numpy())
        self._calls, self._points = _lookups(moves)

    def apply(self, native: pa.RecordBatch) -> pa.RecordBatch:
        """The run's points among native ones; labels are left as they are."""
        if self._hidden is not None and len(self._hidden):
            native = native.filter(pa.array(~_contains(self._hidden, point_hashes(native))))
        if self._calls is None and self._points is None:
            return native
        calls, points = call_hashes(native)
        places = Places.of(native)
        for lookup, hashes in ((self._calls, calls), (self._points, points)):
            if lookup is not None:
                lookup.move(places, hashes)
        data = native
        for name, column in zip(("step", "time", "row"), places.arrays()):
            nulls = native.column(name).is_null() if name != "row" else None
            if nulls is not None and native.column(name).null_count:
                column = pa.compute.if_else(nulls, native.column(name), column)
            data = data.set_column(data.schema.get_field_index(name), name, column)
        return pa.RecordBatch.from_arrays(data.columns, schema=TABLES["metrics"])

    def rest(self) -> Iterator[pa.RecordBatch]:
        """Points that were kept whole."""
        if self._whole is not None:
            yield from self._whole.combine_chunks().to_batches()


class _Lookup:
    """Sorted hashes of native places and the original places that belong to them."""

    def __init__(self, hashes: U64, places: Places) -> None:
        order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[order]
        self._places = places.take(order)

    def move(self, places: Places, hashes: U64) -> None:
        found = np.searchsorted(self._hashes, hashes)
        found[found == len(self._hashes)] = 0
        hit = self._hashes[found] == hashes
        for column, original in zip(places, self._places):
            column[hit] = original[found[hit]]


def _lookups(moves: pa.Table | None) -> tuple[_Lookup | None, _Lookup | None]:
    if moves is None or not moves.num_rows:
        return None, None
    data = moves.combine_chunks().to_batches()[0]
    system = np.array(data.column("system"))
    calls = Places.of(data, "native_").hashes(system)
    keyed = ~np.array(data.column("key").is_null())
    originals = Places.of(data)
    call_lookup = _Lookup(calls[~keyed], originals.take(~keyed)) if not keyed.all() else None
    if not keyed.any():
        return call_lookup, None
    some = data.filter(pa.array(keyed))
    points = key_hashes(calls[keyed], some.column("key"))
    return call_lookup, _Lookup(points, originals.take(keyed))


def _contains(sorted_hashes: U64, hashes: U64) -> Mask:
    found = np.searchsorted(sorted_hashes, hashes)
    found[found == len(sorted_hashes)] = 0
    return np.asarray(sorted_hashes[found] == hashes)
