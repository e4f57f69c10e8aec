"""Rows of table files as rows of the run model."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trackbridge.adapter import Batch, Row, RunRef
from trackbridge.columns import batches, codes, groups, sliced
from trackbridge.schema import CODE, TABLES, TEXT, TIME
from trackbridge_adapters.tables.mapping import Layout, Use
from trackbridge_adapters.tables.parsed import Parsed, Words
from trackbridge_adapters.tables.values import NONE, Cells, Others, numbers, steps, times

Mask = npt.NDArray[np.bool_]


class Names(NamedTuple):
    """Project and run of each row of a block."""

    project: pa.DictionaryArray
    run: pa.DictionaryArray

    @classmethod
    def of(
        cls, parsed: Parsed, layout: Layout, default: RunRef, ids: Sequence[str] | None
    ) -> Names:
        """As ids or else columns say, and where these are empty or missing, by default."""
        return cls(
            labels(parsed, layout.column("project"), default.project),
            labels(parsed, layout.column("run"), default.run_id)
            if ids is None
            else pa.array(ids, TEXT).dictionary_encode(),
        )

    def constant_run(self, run: str) -> Names:
        """The same rows, all of one run."""
        return Names(self.project, constant(run, len(self.run)))


Choose = Callable[[Names], "Mask | None"]
"""Which rows of a block are wanted, by the runs that they are of; None for all."""


def constant(text: str, rows: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), pa.array([text], TEXT))


def labels(parsed: Parsed, name: str | None, default: str) -> pa.DictionaryArray:
    """A column as texts of which few are different."""
    column = None if name is None else parsed.columns.get(name)
    if column is None or pa.types.is_null(column.type):
        return constant(default, parsed.rows)
    if not pa.types.is_dictionary(column.type):
        column = column.cast(TEXT).dictionary_encode()
    index, texts = codes(column), column.dictionary.to_pylist()
    if name in parsed.tokens:
        texts = [_plain(text) for text in texts]
    if (index >= 0).all():
        return column if name not in parsed.tokens else _dictionary(index, texts)
    return _dictionary(np.where(index < 0, len(texts), index), [*texts, default])


def _dictionary(index: npt.NDArray[np.int64], texts: list[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(index.astype(np.int32), pa.array(texts, TEXT))


def _plain(token: str) -> str:
    value = json.loads(token)
    return value if isinstance(value, str) else token


class Axis(NamedTuple):
    """Step and time of each row of a block; None where the table has no such column."""

    step: Cells | None
    time: Cells | None


def axis(parsed: Parsed, layout: Layout, unit: str) -> Axis:
    """Step and time of each row."""
    step, time = layout.column("step"), layout.column("time")
    return Axis(
        None
        if step is None or step not in parsed.columns
        else steps(parsed.columns[step], parsed.words(step)),
        None if time is None or time not in parsed.columns else times(parsed.columns[time], unit),
    )


Line = tuple[str, ...]
"""What rows are of that are numbered together: project and run, in a long table the key too."""


def lines(parsed: Parsed, layout: Layout, names: Names) -> tuple[npt.NDArray[np.int64], list[Line]]:
    """The line of each row, by its number, and the lines."""
    parts = [*names, *([labels(parsed, layout.column("key"), "")] if layout.is_long else [])]
    columns = [str(number) for number in range(len(parts))]
    group, first = groups(pa.RecordBatch.from_arrays(parts, names=columns), *columns)
    return group, [tuple(part[row].as_py() for part in parts) for row in first]


def ordinals(parsed: Parsed, layout: Layout, names: Names, before: Mapping[Line, int]) -> Cells:
    """The number of each row in its line, of which so many rows are in the blocks before."""
    group, found = lines(parsed, layout, names)
    size = np.bincount(group, minlength=len(found))
    start = np.array([before[line] for line in found], np.int64) - (np.cumsum(size) - size)
    order = np.argsort(group, kind="stable")
    values = np.empty(len(group), np.int64)
    values[order] = np.arange(len(group)) + start[group[order]]
    return Cells(values, None, NONE)


def every(names: Names) -> None:
    """Chooses all rows."""


def points(
    parsed: Parsed, layout: Layout, names: Names, at: Axis, choose: Choose
) -> Iterator[Batch]:
    """Rows of `metrics` and `series`: of a long table its values, of a wide one each column.

    `choose` is asked for each column that has a run of its own: that is not the run of its rows.
    """
    keep = choose(names)
    if layout.is_long:
        value = str(layout.column("value"))
        keys = labels(parsed, layout.column("key"), value)
        yield from _values(parsed, value, keys, names, at, keep)
    for name in layout.columns("metric"):
        if name in parsed.columns:
            use = layout.uses[name]
            keys = constant(use.key or name, parsed.rows)
            for run, there in owners(parsed, layout, use):
                of = names.constant_run(run)
                kept = choose(of)
                if there is not None:
                    kept = there if kept is None else kept & there
                yield from _values(parsed, name, keys, of, at, kept)
            if not use.run and not use.shared:
                yield from _values(parsed, name, keys, names, at, keep)


def owners(parsed: Parsed, layout: Layout, use: Use) -> Iterator[tuple[str, Mask | None]]:
    """The runs that a column is of, not its rows, and the rows that are of each; None for all."""
    if use.run:
        yield use.run, None
    if use.shared:
        there: dict[str, Mask] = {}
        for name, line in layout.uses.items():
            if line.run and name in parsed.columns:
                valid = parsed.columns[name].is_valid().to_numpy(zero_copy_only=False)
                there[line.run] = there.get(line.run, False) | valid
        yield from there.items()


def _values(
    parsed: Parsed, name: str, keys: pa.DictionaryArray, names: Names, at: Axis, keep: Mask | None
) -> Iterator[Batch]:
    found = numbers(parsed.columns[name], parsed.words(name))
    there = found.there if keep is None else keep if found.there is None else keep & found.there
    yield from sliced("metrics", _metrics(found.values, keys, names, at, there))
    if found.others is not None:
        others = found.others
        if keep is not None:
            others = _kept(others, keep[others.rows])
        yield from sliced("series", _series(others, keys, names, at))


def _kept(others: Others, mask: Mask) -> Others:
    chosen = pa.array(mask)
    return Others(others.rows[mask], others.kinds.filter(chosen), others.values.filter(chosen))


def _metrics(
    values: npt.NDArray[np.float64],
    keys: pa.DictionaryArray,
    names: Names,
    at: Axis,
    there: Mask | None,
) -> pa.RecordBatch:
    rows = None if there is None or there.all() else np.flatnonzero(there)
    count = len(values) if rows is None else len(rows)
    columns = {
        "project": _rows(names.project, rows),
        "run_id": _rows(names.run, rows),
        "key": _rows(keys, rows),
        "step": _cells(at.step, rows, count),
        "time": _cells(at.time, rows, count).cast(TIME),
        "row": pa.nulls(count, pa.int64()),
        "value": pa.array(values if rows is None else values[rows]),
        "system": pa.array(np.zeros(count, bool)),
    }
    return pa.RecordBatch.from_arrays([*columns.values()], schema=TABLES["metrics"])


def _series(others: Others, keys: pa.DictionaryArray, names: Names, at: Axis) -> pa.RecordBatch:
    rows, count = others.rows, len(others.rows)
    columns = {
        "project": _rows(names.project, rows).cast(TEXT),
        "run_id": _rows(names.run, rows).cast(TEXT),
        "key": _rows(keys, rows).cast(TEXT),
        "step": _cells(at.step, rows, count),
        "time": _cells(at.time, rows, count).cast(TIME),
        "row": pa.nulls(count, pa.int64()),
        "kind": others.kinds,
        "value": others.values,
        "path": pa.nulls(count, TEXT),
    }
    arrays = [c.combine_chunks() if isinstance(c, pa.ChunkedArray) else c for c in columns.values()]
    return pa.RecordBatch.from_arrays(arrays, schema=TABLES["series"])


def _rows(column: pa.DictionaryArray, rows: npt.NDArray[np.int64] | None) -> pa.DictionaryArray:
    if rows is not None:
        column = column.take(pa.array(rows))
    return column if column.type == CODE else column.cast(CODE)


def _cells(cells: Cells | None, rows: npt.NDArray[np.int64] | None, count: int) -> pa.Array:
    if cells is None:
        return pa.nulls(count, pa.int64())
    values = cells.values if rows is None else cells.values[rows]
    if cells.there is None:
        return pa.array(values)
    return pa.array(values, mask=~(cells.there if rows is None else cells.there[rows]))


def final_values(parsed: Parsed, layout: Layout, names: Names, choose: Choose) -> Iterator[Batch]:
    """Rows of `summary`: one for each cell, in tables that have one row for each run."""
    if not layout.columns("summary"):
        return
    keep = choose(names)
    rows = range(parsed.rows) if keep is None else np.flatnonzero(keep).tolist()
    project, run = names.project.to_pylist(), names.run.to_pylist()
    found: list[Row] = []
    for name in layout.columns("summary"):
        if name not in parsed.columns:
            continue
        cells, use = parsed.columns[name].to_pylist(), layout.uses[name]
        for row in rows:
            if cells[row] is not None:
                value, kind = leaf(cells[row], parsed.words(name))
                label = {"project": project[row], "run_id": run[row]}
                found.append({**label, "key": use.key or name, "value": value, "type": kind})
    yield from batches("summary", found)


_WHOLE = re.compile(r"-?(0|[1-9]\d*)")
_FLOAT = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_KINDS = {str: "string", bool: "boolean", int: "integer", float: "float"}
_KINDS |= {list: "list", dict: "object", type(None): "null"}


def leaf(cell: Any, words: Words) -> tuple[str, str]:
    """A cell as value and type of a leaf: see `schema.VALUE`."""
    if words == "json":
        value = json.loads(cell)
        return (value if isinstance(value, str) else cell), _KINDS[type(value)]
    if isinstance(cell, float):
        return json.dumps(cell), "float"
    if not isinstance(cell, str):
        return json.dumps(cell, default=str), _KINDS[type(cell)]
    if words == "texts":
        return cell, "string"
    if cell.lower() in ("true", "false"):
        return cell.lower(), "boolean"
    if _WHOLE.fullmatch(cell):
        return cell, "integer"
    return cell, "float" if _FLOAT.fullmatch(cell) else "string"
