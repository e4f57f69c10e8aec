"""Rows of a key and a value as wide tables: a column for each key, of the type of its values."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from trackbridge.adapter import RunRef
from trackbridge.columns import codes
from trackbridge.dataframes import numbers, refs_at, runs_of, whole
from trackbridge.schema import BOOL, FLOAT, INT, TEXT

Indices = npt.NDArray[np.int64]

WHOLE = re.compile(r"[+-]?(0|[1-9]\d{0,18})")
NUMBER = re.compile(
    r"[+-]?(((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?|inf|infinity|nan)", re.IGNORECASE
)
"""Numbers as programs print them: what begins with a zero too many is a code."""
TRUTHS = {"True": True, "true": True, "False": False, "false": False}
NOTHING = ("None", "null")
"""Texts of values that are none, where a tracker has no type for them."""


def settings(rows: pa.Table, runs: Sequence[RunRef]) -> pa.Table:
    """A row for each of the runs; of values of one run and key, the last one counts.

    The type of a column is that of all its values, told from their texts: trackers that have no
    types keep numbers as texts. A key without a value (a bare label) is true where it is.
    """
    of_run = _places(rows, runs)
    keys, texts = whole(rows.column("key")), whole(rows.column("value")).dictionary_encode()
    key, value = codes(keys), codes(texts)
    names = keys.dictionary.to_pylist()
    order = np.argsort(key, kind="stable")
    edges = np.searchsorted(key[order], np.arange(len(names) + 1))
    every = texts.dictionary.to_pylist()
    typed = "type" in rows.column_names
    columns = {}
    for number, name in enumerate(names):
        there = order[edges[number] : edges[number + 1]]
        used, local = np.unique(value[there], return_inverse=True)
        at = np.full(len(runs), -1, np.int64)
        at[of_run[there]] = local.reshape(-1)
        found = [every[code] if code >= 0 else None for code in used.tolist()]
        columns[name] = _column(found, at, bare=not typed)
    return _table(columns, len(runs))


def _column(values: Sequence[str | None], at: Indices, *, bare: bool) -> pa.Array:
    """The values at the places that have one of them; -1 means none."""
    if bare and all(value is None for value in values):
        return pa.array(at >= 0)
    texts = ["true" if value is None and bare else value for value in values]
    made = typed(texts)
    return made.take(pa.array(at, mask=at < 0))


def typed(texts: Sequence[str | None]) -> pa.Array:
    """Different values of one key in the simplest type that they all have."""
    there = {text for text in texts if text is not None and text not in NOTHING}
    if there and all(text in TRUTHS for text in there):
        return pa.array([TRUTHS.get(text or "") for text in texts], BOOL)
    if there and all(WHOLE.fullmatch(text) for text in there):
        counts = [int(text) if text in there else None for text in texts]
        if all(number is None or -(2**63) <= number < 2**63 for number in counts):
            return pa.array(counts, INT)
    if there and all(NUMBER.fullmatch(text) for text in there) and not any(map(_overflows, there)):
        return pa.array([float(text) if text in there else None for text in texts], FLOAT)
    return pa.array(texts, TEXT)


def _overflows(number: str) -> bool:
    """Whether a number is too large for a double."""
    return math.isinf(float(number)) and "inf" not in number.lower()


def curves(rows: pa.Table) -> tuple[pa.Table, pd.MultiIndex]:
    """A row for each run and step of points, and what these are.

    The points are in the order of `dataframes.ordered`: of those of a key at one step, the latest
    one counts.
    """
    group, first = runs_of(rows)
    runs = refs_at(rows, first)
    step, absent = numbers(rows.column("step")), _is_null(rows.column("step"))
    last = _changes(group, numbers(rows.column("key")), step, absent)[1:]
    rows = rows.filter(pa.array(last))
    group, step, absent = group[last], step[last], absent[last]

    order = np.lexsort((step, ~absent, group))
    new = _changes(group[order], step[order], absent[order])[:-1]
    place = np.empty(len(order), np.int64)
    place[order] = np.cumsum(new) - 1
    starts = order[new]
    labels = run_index(runs, group[starts], step[starts], absent[starts])
    return _columns(rows, place, len(starts)), labels


def _is_null(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    return np.asarray(column.is_null().to_numpy(), np.bool_)


def _changes(*columns: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Before which rows something changes: there is one more place than there are rows."""
    changes = np.ones(len(columns[0]) + 1, np.bool_)
    unlike = [column[1:] != column[:-1] for column in columns]
    changes[1:-1] = np.logical_or.reduce(unlike)
    return changes


def _columns(rows: pa.Table, place: Indices, count: int) -> pa.Table:
    """The values of each key at their places."""
    keys, values = whole(rows.column("key")), whole(rows.column("value"))
    key, there = codes(keys), ~_is_null(rows.column("value"))
    value = np.asarray(values.to_numpy(zero_copy_only=False), np.float64)
    columns = {}
    for number, name in enumerate(keys.dictionary.to_pylist()):
        mine = (key == number) & there
        of_key, none = np.full(count, np.nan), np.ones(count, np.bool_)
        of_key[place[mine]] = value[mine]
        none[place[mine]] = False
        columns[name] = pa.array(of_key, FLOAT, mask=none)
    return _table(columns, count)


def _table(columns: dict[str, pa.Array], rows: int) -> pa.Table:
    """Columns as a table that has its rows even without any."""
    if columns:
        return pa.table(columns)
    return pa.table({"": pa.nulls(rows)}).select([])


def _places(rows: pa.Table, runs: Sequence[RunRef]) -> Indices:
    """The number of the run of each row, among the runs."""
    group, first = runs_of(rows)
    number = {ref: place for place, ref in enumerate(runs)}
    return np.array([number[ref] for ref in refs_at(rows, first)] or [0], np.int64)[group]


def run_index(
    runs: Sequence[RunRef],
    of_row: Indices | None = None,
    step: Indices | None = None,
    absent: npt.NDArray[np.bool_] | None = None,
) -> pd.MultiIndex:
    """Project, run id and, where rows have one, step."""
    of_row = np.arange(len(runs)) if of_row is None else of_row
    levels: list[Any] = []
    numbered: list[Any] = []
    for part in (0, 1):
        texts = sorted({ref[part] for ref in runs})
        place = {text: number for number, text in enumerate(texts)}
        levels.append(pd.Index(texts, dtype=None if texts else object))
        of_run = np.array([place[ref[part]] for ref in runs] or [0], np.int64)
        numbered.append(of_run[of_row])
    names = ["project", "run_id"]
    if step is not None and absent is not None:
        steps, code = np.unique(step, return_inverse=True)
        levels.append(pd.Index(steps))
        numbered.append(np.where(absent, -1, code.reshape(-1)))
        names.append("step")
    made: pd.MultiIndex = pd.MultiIndex(levels, numbered, names=names, verify_integrity=False)
    return made
