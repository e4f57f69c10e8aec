"""Rows of the run model as pandas frames: of one order and one set of types in any store."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from trackbridge.adapter import Batch, RunRef
from trackbridge.columns import codes, groups
from trackbridge.schema import BOOL, CODE, INT, TABLES, TEXT, TIME

CODED = ("project", "run_id", "key")
"""Columns that say the same again and again: categories."""
ORDER = {
    "metrics": ("step", "time", "row", "value"),
    "logs": ("line",),
}
"""Columns by which rows of a run (and key) are ordered, where not by all in their order."""
TYPES = {TEXT: pd.StringDtype("pyarrow"), INT: pd.Int64Dtype(), BOOL: pd.BooleanDtype()}
"""What pandas' frames have where Arrow has these; times and categories it knows itself."""
FIRST = np.iinfo(np.int64).min
"""Stands for null among numbers: before all others."""

Names = Mapping[RunRef, str | None]


def gathered(batches: Iterable[Batch], table: str) -> pa.Table:
    """Rows of one table as they come, with texts that repeat coded alike in all of them."""
    data = [batch.data for batch in batches if batch.data.num_rows]
    rows = pa.Table.from_batches(data, TABLES[table])
    for name in set(CODED) & set(rows.column_names):
        position = rows.schema.get_field_index(name)
        column = rows.column(name)
        if column.type != CODE:
            column = column.dictionary_encode()
        rows = rows.set_column(position, name, _in_order(column))
    return rows.combine_chunks()


def _in_order(column: pa.ChunkedArray) -> pa.Array:
    """Coded texts, with each once in the dictionary and in their order."""
    column = whole(column.unify_dictionaries())
    texts = column.dictionary.to_pylist()
    used = np.unique(codes(column))
    ordered = sorted({texts[code] for code in used.tolist() if code >= 0})
    place = {text: number for number, text in enumerate(ordered)}
    new = np.array([*(place.get(text, -1) for text in texts), -1], np.int32)[codes(column)]
    return coded(new, ordered)


def coded(indices: npt.NDArray[Any], texts: Collection[str]) -> pa.DictionaryArray:
    """Texts by their number; -1 is null."""
    index = pa.array(indices.astype(np.int32), mask=indices < 0)
    return pa.DictionaryArray.from_arrays(index, pa.array(list(texts), TEXT))


def ordered(rows: pa.Table, table: str) -> pa.Table:
    """Rows by project, run and key, then by what else tells them apart."""
    labels = [name for name in CODED if name in rows.column_names]
    others = ORDER.get(table) or [n for n in rows.column_names if n not in labels]
    keys = [numbers(rows.column(name)) for name in (*labels, *others)]
    if _are_ordered(keys):
        return rows
    return rows.take(pa.array(np.lexsort(keys[::-1])))


def _are_ordered(keys: Iterable[npt.NDArray[Any]]) -> bool:
    """Whether rows are in the order of some columns already: most stores give them like that."""
    undecided: npt.NDArray[np.bool_] | None = None
    for key in keys:
        if undecided is None:
            undecided = np.ones(max(len(key) - 1, 0), np.bool_)
        if bool(np.any(undecided & ~(key[1:] >= key[:-1]))):  # NaN counts as out of order
            return False
        undecided &= key[1:] == key[:-1]
    return True


def numbers(column: pa.ChunkedArray | pa.Array) -> npt.NDArray[Any]:
    """What the values of a column are ordered by; null comes first."""
    column = whole(column)
    if column.type == CODE:
        return codes(column)
    if column.type == TEXT:
        return codes(_in_order(pa.chunked_array([column.dictionary_encode()])))
    if pa.types.is_floating(column.type):
        return np.asarray(column.fill_null(-np.inf).to_numpy(zero_copy_only=False))
    counts = column.cast(INT) if column.type in (TIME, BOOL) else column
    return np.asarray(counts.fill_null(FIRST).to_numpy(zero_copy_only=False))


def whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """A column in one piece."""
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else empty(column.type)
    return column


def empty(kind: pa.DataType) -> pa.Array:
    """A column without rows."""
    return pa.nulls(0, kind)


def named(rows: pa.Table, names: Names) -> pa.Table:
    """The rows with the names of their runs, as a column behind their ids."""
    group, first = runs_of(rows)
    of_group = [names.get(ref) for ref in refs_at(rows, first)]
    every = sorted({name for name in of_group if name is not None})
    place = {name: number for number, name in enumerate(every)}
    numbered = [-1 if name is None else place[name] for name in of_group]
    column = coded(np.array([*numbered, -1], np.int64)[group], every)
    return rows.add_column(rows.schema.get_field_index("run_id") + 1, "name", column)


def runs_of(rows: pa.Table) -> tuple[npt.NDArray[np.int64], list[int]]:
    """The number of the run of each row, and a row of each run."""
    labels = rows.select(["project", "run_id"]).combine_chunks().to_batches()
    return groups(labels[0], "project", "run_id") if labels else (np.zeros(0, np.int64), [])


def refs_at(rows: pa.Table, positions: Iterable[int]) -> list[RunRef]:
    """Project and run id of some rows."""
    some = rows.select(["project", "run_id"]).take(pa.array([*positions], INT)).to_pylist()
    return [RunRef(row["project"], row["run_id"]) for row in some]


def frame(rows: pa.Table, *, arrow: bool) -> pd.DataFrame:
    """Rows with the types that pandas has for them, or with Arrow's own.

    Of pandas' types, that of numbers with a fraction is numpy's: a missing one is NaN, as those
    have it who compute and plot.
    """
    if not rows.num_rows:  # pandas (3.1) cannot merge texts that are in no piece at all
        rows = pa.table([empty(field.type) for field in rows.schema], rows.schema)
    mapper = pd.ArrowDtype if arrow else TYPES.get
    return rows.to_pandas(types_mapper=mapper, ignore_metadata=True)  # type: ignore[no-any-return]
