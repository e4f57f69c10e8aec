"""Columns of batches as numpy arrays, and the project and run that label their rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trackbridge.adapter import Batch, Row, RunRef
from trackbridge.optional import Excerpt
from trackbridge.schema import BATCH_ROWS, EVERY_TABLE


def codes(column: pa.DictionaryArray) -> npt.NDArray[np.int64]:
    """Index of each row's value in the column's dictionary; -1 for null."""
    return np.asarray(_indices(column), np.int64)


def _indices(column: pa.DictionaryArray) -> npt.NDArray[Any]:
    indices = column.indices
    if indices.null_count:
        indices = indices.fill_null(-1)
    found: npt.NDArray[Any] = indices.to_numpy(zero_copy_only=False)
    return found


def compacted(column: pa.DictionaryArray) -> pa.DictionaryArray:
    """The same values, with a dictionary of those that occur, each once, as they come."""
    texts, index = column.dictionary.to_pylist(), codes(column)
    number = {text: code for code, text in enumerate(texts)}
    same = np.array([number[text] for text in texts] + [-1], np.int64)
    index = same[index]  # that of null is the last one
    rows = np.flatnonzero(index >= 0)[::-1]
    first = np.full(len(texts), len(index))
    first[index[rows]] = rows
    order = np.argsort(first, kind="stable")[: np.count_nonzero(first < len(index))]
    place = np.zeros(len(texts) + 1, np.int32)
    place[order] = np.arange(len(order))
    indices = pa.array(place[index], mask=index < 0)
    return pa.DictionaryArray.from_arrays(indices, column.dictionary.take(pa.array(order)))


def numpy_of(column: pa.Array, kind: Any) -> npt.NDArray[Any]:
    """A writable copy of a column without nulls."""
    return np.array(column.to_numpy(zero_copy_only=False), dtype=kind)


def groups(data: pa.RecordBatch, *columns: str) -> tuple[npt.NDArray[np.int64], list[int]]:
    """The group of each row by equal texts in some columns, and a row that stands for each."""
    coded = [data.column(name) for name in columns]
    coded = [c if pa.types.is_dictionary(c.type) else c.dictionary_encode() for c in coded]
    sizes = [len(column.dictionary) + 1 for column in coded]
    indices = [_indices(column) for column in coded]
    starts = _starts(indices)
    if starts is None:
        group, first = _numbered(indices, sizes)
        return group, first.tolist()
    group, first = _numbered([index[starts] for index in indices], sizes)
    return np.repeat(group, np.diff(starts, append=data.num_rows)), starts[first].tolist()


def _starts(indices: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.int64] | None:
    """Where rows differ from the ones before them; None where many do."""
    rows = len(indices[0])
    for some in sorted({min(rows, BATCH_ROWS // 16), rows}):  # to look at all has its price
        parts = [index[:some] for index in indices]
        changed = np.zeros(some, bool)
        changed[:1] = True
        for part in parts:
            changed[1:] |= part[1:] != part[:-1]
        if np.count_nonzero(changed) > some // 8:
            return None
    return np.flatnonzero(changed)


def _numbered(
    indices: Sequence[npt.NDArray[Any]], sizes: Sequence[int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The group of each row, and a row of each; an index is -1 or more, and less than its size."""
    rows = len(indices[0])
    combined, span = np.zeros(rows, np.int64), 1
    for index, size in zip(indices, sizes):
        combined = combined * size + index + 1
        span *= size
    if span > 4 * rows + BATCH_ROWS:
        _, first, group = np.unique(combined, return_index=True, return_inverse=True)
        return group.reshape(-1), first
    used = np.flatnonzero(np.bincount(combined, minlength=span))
    number = np.zeros(span, np.int64)
    number[used] = np.arange(len(used))
    group = number[combined]
    first = np.zeros(len(used), np.int64)
    first[group[::-1]] = np.arange(rows - 1, -1, -1)
    return group, first


def latest(group: npt.NDArray[np.int64], *keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """A row of each group: of those with the greatest first key that with the greatest second, ...

    The groups are numbered from 0, without gaps; the rows come in their order.
    """
    rows = np.arange(len(group))
    for key in keys:
        most = np.full(int(group.max(initial=-1)) + 1, np.iinfo(np.int64).min)
        np.maximum.at(most, group[rows], key[rows])
        rows = rows[key[rows] == most[group[rows]]]
    found = np.zeros(int(group.max(initial=-1)) + 1, np.int64)
    found[group[rows]] = rows
    return found


def split(data: pa.RecordBatch) -> Iterator[tuple[RunRef, pa.RecordBatch]]:
    """The rows of each run of a batch, in order."""
    if not data.num_rows:
        return
    group, first = groups(data, "project", "run_id")
    if len(first) == 1:
        yield label(data, 0), data
        return
    edges = np.flatnonzero(np.diff(group)) + 1
    if len(edges) + 1 != len(first):
        order = np.argsort(group, kind="stable")
        data, edges = data.take(pa.array(order)), np.flatnonzero(np.diff(group[order])) + 1
    for start, stop in zip([0, *edges.tolist()], [*edges.tolist(), data.num_rows]):
        part = data.slice(start, stop - start)
        yield label(part, 0), part


def label(data: pa.RecordBatch, row: int) -> RunRef:
    """Project and run of one row."""
    return RunRef(data.column("project")[row].as_py(), data.column("run_id")[row].as_py())


def relabel(data: pa.RecordBatch, labels: Mapping[RunRef, RunRef]) -> pa.RecordBatch:
    """The same rows under other projects and runs; labels that are not mapped stay."""
    if not data.num_rows:
        return data
    if pa.types.is_dictionary(data.schema.field("project").type):
        group, first = groups(data, "project", "run_id")
        old = [label(data, row) for row in first]
        new = [labels.get(ref, ref) for ref in old]
        indices = pa.array(group.astype(np.int32))
        columns = [
            pa.DictionaryArray.from_arrays(indices, pa.array([ref[part] for ref in new]))
            for part in (0, 1)
        ]
    else:
        pairs = zip(data.column("project").to_pylist(), data.column("run_id").to_pylist())
        new = [labels.get(ref, ref) for ref in map(RunRef._make, pairs)]
        columns = [pa.array([ref[part] for ref in new], pa.string()) for part in (0, 1)]
    position = [data.schema.get_field_index(name) for name in ("project", "run_id")]
    arrays = list(data.columns)
    for index, column in zip(position, columns):
        arrays[index] = column
    return pa.RecordBatch.from_arrays(arrays, schema=data.schema)


def within(points: pa.RecordBatch, excerpt: Excerpt) -> pa.RecordBatch:
    """The rows of `metrics` that are in an excerpt."""
    kept = pa.repeat(True, points.num_rows)
    if excerpt.keys is not None:
        key = points.column("key")
        wanted = [name in excerpt.keys for name in key.dictionary.to_pylist()]
        kept = pa.array(np.array([*wanted, False], np.bool_)[codes(key)])
    step = points.column("step")
    if excerpt.first is not None:
        kept = pc.and_(kept, pc.fill_null(pc.greater_equal(step, excerpt.first), False))
    if excerpt.last is not None:
        in_time = pc.fill_null(pc.less_equal(step, excerpt.last), excerpt.first is None)
        kept = pc.and_(kept, in_time)
    return points if excerpt == Excerpt() else points.filter(kept)


def batches(table: str, rows: Iterable[Row]) -> Iterator[Batch]:
    """Rows as batches of the run model; absent columns are null."""
    rows = list(rows)
    for start in range(0, len(rows), BATCH_ROWS):
        part = rows[start : start + BATCH_ROWS]
        yield Batch(table, pa.RecordBatch.from_pylist(part, schema=EVERY_TABLE[table]))


def sliced(table: str, data: pa.RecordBatch) -> Iterator[Batch]:
    """A long batch as batches of the size that a store may be given."""
    for start in range(0, data.num_rows, BATCH_ROWS):
        yield Batch(table, data.slice(start, BATCH_ROWS))
