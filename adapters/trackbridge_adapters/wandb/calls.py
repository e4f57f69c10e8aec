"""Makes history, stats and output records from columns: what `points` and `console` undo."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trackbridge.columns import codes, numpy_of
from trackbridge.errors import IntegrityError
from trackbridge.schema import BATCH_ROWS, TABLES
from trackbridge_adapters.wandb import jsontext, names
from trackbridge_adapters.wandb.console import LINE, NO_STREAM, STREAMS
from trackbridge_adapters.wandb.encode import set_time
from trackbridge_adapters.wandb.records import Record

Ints = npt.NDArray[np.int64]
BARE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


class Call(NamedTuple):
    """One log call: its number, step, time (us), and the codes and JSON texts of its values."""

    row: int
    step: int | None
    time: int | None
    codes: list[int]
    texts: list[str]


class Calls:
    """Points and series of one run, in the order of their log calls."""

    def __init__(self, points: pa.Table, series: pa.Table) -> None:
        self._values = _whole(points.column("value"))
        self._texts = _whole(series.column("value"))
        keys = [_whole(points.column("key")), _whole(series.column("key")).dictionary_encode()]
        found: dict[str, int] = {}
        self._codes = np.concatenate([_coded(column, found) for column in keys])
        self.names = list(found)
        self._row, self._step, self._time = (
            _joined(points.column(name), series.column(name)) for name in ("row", "step", "time")
        )
        if self._row.null_count:
            raise IntegrityError("points without a row: lay them into rows before writing them")
        self._order = np.argsort(self._row.to_numpy(), kind="stable")

    def __iter__(self) -> Iterator[Call]:
        open_call: Call | None = None
        for start in range(0, len(self._order), BATCH_ROWS):
            for call in self._slice(self._order[start : start + BATCH_ROWS]):
                if open_call is not None and open_call.row == call.row:
                    open_call.codes.extend(call.codes)
                    open_call.texts.extend(call.texts)
                    continue
                if open_call is not None:
                    yield open_call
                open_call = call
        if open_call is not None:
            yield open_call

    def used(self) -> list[str]:
        """Those of the names that have points."""
        return [self.names[code] for code in np.unique(self._codes).tolist()]

    def last(self) -> Iterator[tuple[str, str]]:
        """Each name with its last value that is a number."""
        points = self._order[self._order < len(self._values)]
        latest = np.full(len(self.names), -1, np.int64)
        latest[self._codes[points]] = points
        at = latest[latest >= 0]
        texts = _number_texts(self._values.take(pa.array(at)))
        yield from zip((self.names[code] for code in self._codes[at].tolist()), texts)

    def _slice(self, at: Ints) -> Iterator[Call]:
        """The calls of some points; the first and the last one may be parts."""
        index = pa.array(at)
        rows = self._row.take(index).to_numpy()
        start = np.flatnonzero(np.concatenate([[True], np.diff(rows) != 0]))
        first = pa.array(at[start])
        steps, times = (c.take(first).to_pylist() for c in (self._step, self._time))
        texts, found = self._texts_at(at), self._codes[at].tolist()
        edges = [*start.tolist(), len(at)]
        for number, (begin, end) in enumerate(pairwise(edges)):
            place = (int(rows[begin]), steps[number], times[number])
            yield Call(*place, found[begin:end], texts[begin:end])

    def _texts_at(self, at: Ints) -> list[str]:
        numeric = at < len(self._values)
        if numeric.all():
            return _number_texts(self._values.take(pa.array(at)))
        texts = np.empty(len(at), object)
        texts[numeric] = _number_texts(self._values.take(pa.array(at[numeric])))
        others = pa.array(at[~numeric] - len(self._values))
        texts[~numeric] = self._texts.take(others).to_pylist()
        return list(texts)


def history(
    calls: Calls, special: Mapping[str, names.Path] | None, first: int = 0
) -> Iterator[Any]:
    """A history record per call from a number on; those without calls are without values.

    Names are those of nested keys, but for `special` ones; without that they are keys themselves.
    """
    plain = [_key_fields(name, special) for name in calls.names]
    row = first
    for call in calls:
        for _ in range(row, call.row):
            yield _empty_call()
        row = call.row + 1
        record = Record()
        items = record.history.item
        for code, text in zip(call.codes, call.texts):
            items.add(value_json=text, **plain[code])
        if call.time is not None:
            items.add(key="_timestamp", value_json=jsontext.number(call.time / 1e6))
        if call.step is not None:
            items.add(key="_step", value_json=str(call.step))
            record.history.step.num = call.step
            record.history.step.SetInParent()
        yield record


def is_flat(kind: str, found: Collection[str], special: Mapping[str, names.Path]) -> bool:
    """Whether the names of a run born in that kind of store are keys as they are.

    Those of other kinds are, and those that nested keys cannot stand for, as they mean something to
    W&B or one would lie within the value of another: then all of their run are.
    """
    if kind != "wandb" or any(n in names.RESERVED or n.endswith("._type") for n in found):
        return True
    paths = {special.get(name) or names.parts(name) for name in found}
    return any(path[:end] in paths for path in paths for end in range(1, len(path)))


def stats(points: pa.Table) -> Iterator[Any]:
    """A stats record per sample of the system, numbered from 0 by their steps."""
    if not points.num_rows:
        return
    order = pc.sort_indices(points, [("step", "ascending")])
    points = points.take(order).combine_chunks()
    steps = numpy_of(_whole(points.column("step")), np.int64)
    times = _whole(points.column("time").cast(pa.int64())).to_pylist()
    keys = points.column("key").cast(pa.string()).to_pylist()
    texts = _number_texts(_whole(points.column("value")))
    edges = [*np.flatnonzero(np.concatenate([[True], np.diff(steps) != 0])).tolist(), len(steps)]
    for begin, end in pairwise(edges):
        record = Record()
        set_time(record.stats, "timestamp", times[begin])
        for key, text in zip(keys[begin:end], texts[begin:end]):
            record.stats.item.add(key=key, value_json=text)
        record.stats.SetInParent()
        yield record


def output(logs: pa.Table) -> Iterator[Any]:
    """A record per piece of console output, in order."""
    if not logs.num_rows:
        return
    logs = logs.take(pc.sort_indices(logs, [("line", "ascending")]))
    numbers = {name: number for number, name in enumerate(STREAMS)}
    expected = 0
    for batch in logs.to_batches(BATCH_ROWS):
        columns = (batch.column(name) for name in ("stream", "line", "text"))
        times = batch.column("time").cast(pa.int64()).to_pylist()
        for stream, line, text, time in zip(*(c.to_pylist() for c in columns), times):
            record = Record()
            record.output_raw.output_type = numbers.get(stream, NO_STREAM)
            record.output_raw.line = text or ""
            set_time(record.output_raw, "timestamp", time)
            if line != expected:
                record.uuid = f"{LINE}{line}"
            expected = line + 1
            yield record


def _key_fields(name: str, special: Mapping[str, names.Path] | None) -> dict[str, Any]:
    path = (names.reserve(name),) if special is None else special.get(name) or names.parts(name)
    # the client drops a plain key that is empty (measured, 0.31)
    return {"key": path[0]} if len(path) == 1 and path[0] else {"nested_key": path}


def _empty_call() -> Any:
    record = Record()
    record.history.SetInParent()
    return record


def _number_texts(values: pa.Array) -> list[str]:
    """Numbers as JSON text that is read as the same doubles."""
    texts: list[str] = values.cast(pa.string()).to_pylist()
    if pc.all(pc.is_finite(values)).as_py() is False:
        return [BARE.get(text, text) for text in texts]
    return texts


def _whole(column: pa.ChunkedArray) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
    chunks = column.combine_chunks()
    if isinstance(chunks, pa.ChunkedArray):
        chunks = chunks.chunk(0) if chunks.num_chunks else pa.array([], column.type)
    return chunks


def _coded(column: pa.DictionaryArray, found: dict[str, int]) -> Ints:
    """Codes of a column in a dictionary that it adds to."""
    table = [found.setdefault(name, len(found)) for name in column.dictionary.to_pylist()]
    return np.array([*table, -1], np.int64)[codes(column)]


def _joined(points: pa.ChunkedArray, series: pa.ChunkedArray) -> pa.Array:
    """Step, time or row of points, then of series, as integers."""
    parts = [_whole(column).cast(pa.int64()) for column in (points, series)]
    return pa.concat_arrays(parts)


def table_of(name: str, parts: list[pa.RecordBatch]) -> pa.Table:
    return pa.Table.from_batches(parts, TABLES[name])
