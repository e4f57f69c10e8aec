"""The history of a run: rows as they were streamed, pages, samples, and parquet exports."""

from __future__ import annotations

import io
import json
import math
from contextlib import suppress
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from wandb_server.graphql import Node
from wandb_server.state import Run
from wandb_server.storage import Storage

Row = dict[str, Any]


def rows(run: Run) -> list[Row]:
    return _rows(run, run.revision)


@lru_cache(maxsize=64)
def _rows(run: Run, revision: int) -> list[Row]:
    return [json.loads(line) for line in run.history if line]


def strict(value: Any) -> Any:
    """A value for a reply, which is strict JSON: NaN is the string "NaN" (inferred)."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: strict(part) for key, part in value.items()}
    return [strict(part) for part in value] if isinstance(value, list) else value


def sample(items: list[Any], size: int) -> list[Any]:
    """At most so many, spread evenly: the first and the last are among them.

    The service picks its samples by a rule of its own; that it does not give all is what counts.
    """
    if len(items) <= size:
        return items
    if size < 2:
        return items[:size]
    return [items[at * (len(items) - 1) // (size - 1)] for at in range(size)]


def page(
    run: Run, samples: int = 500, minStep: int | None = None, maxStep: int | None = None
) -> list[str]:
    """Rows as JSON texts, at most `samples`.

    With a range of steps (the upper end is exclusive) only rows that no parquet file has: the
    client lays these beside its parquet rows without a look at doubles (core/internal/
    runhistoryreader/reader.go), so the service must not send them twice (inferred).
    """
    lines = [line for line in run.history if line]
    if minStep is None and maxStep is None:
        return sample(lines, samples)
    low, high = minStep or 0, math.inf if maxStep is None else maxStep
    both = list(zip(lines, rows(run)))[run.exported :]
    return sample([line for line, row in both if low <= row.get("_step", 0) < high], samples)


def sampled(run: Run, specs: list[str]) -> list[list[Row]]:
    """For each spec the rows that have all its keys, with these alone; `maxStep` is inclusive."""
    found = []
    for spec in map(json.loads, specs):
        keys = spec.get("keys") or []
        low, high = spec.get("minStep", 0), spec.get("maxStep", math.inf)
        live = rows(run)[run.exported :] if "minStep" in spec else rows(run)
        picked = [
            {key: strict(_value(row, key)) for key in keys}
            for row in live
            if low <= row.get("_step", 0) <= high and all(_has(row, key) for key in keys)
        ]
        found.append(sample(picked, spec.get("samples", 500)))
    return found


def _has(row: Row, key: str) -> bool:
    return key in row or _nested(row, key) is not None


def _value(row: Row, key: str) -> Any:
    return row[key] if key in row else _nested(row, key)


def _nested(row: Row, key: str) -> Any:
    value: Any = row
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


_KINDS = {bool: "boolean", int: "number", float: "number", str: "string", list: "list"}


@lru_cache(maxsize=4096)
def _keys(run: Run, revision: int) -> Node:
    counts: dict[str, dict[str, int]] = {}
    for row in rows(run):
        for key, value in row.items():
            kind = _KINDS.get(type(value), "object")
            if isinstance(value, dict) and "_type" in value:
                kind = value["_type"]
            kinds = counts.setdefault(key, {})
            kinds[kind] = kinds.get(kind, 0) + 1
    last = max((row.get("_step", 0) for row in rows(run)), default=-1)
    types = {
        key: {"typeCounts": [{"type": kind, "count": n} for kind, n in kinds.items()]}
        for key, kinds in counts.items()
    }
    return {"sets": [], "keys": types, "lastStep": last}


def keys(run: Run) -> Node | None:
    """`historyKeys`: types and counts by key, and the last step; null without any row."""
    return _keys(run, run.revision) if run.history else None


def exports(run: Run, storage: Storage, liveKeys: list[str]) -> Node:
    """`parquetHistory`: addresses of files, and what is not in them yet of the keys asked for."""
    urls = [storage.url(key) for key in _files(run, storage)]
    live = rows(run)[run.exported :]
    steps = [{key: strict(row.get(key)) for key in liveKeys if key in row} for row in live]
    return {"parquetUrls": urls, "liveData": steps}


ROWS = 10_000
"""In one parquet file."""


def _files(run: Run, storage: Storage) -> list[str]:
    found = []
    for at in range(0, run.exported, ROWS):
        part = rows(run)[at : min(at + ROWS, run.exported)]
        key = f"exports/{run.id}/{at}-{len(part)}.parquet"
        if not storage.has(key):
            sink = io.BytesIO()
            pq.write_table(table(part), sink)
            storage.write(key, sink.getvalue())
        found.append(key)
    return found


def table(part: list[Row]) -> pa.Table:
    """Rows as the service exports them: _step, _timestamp, _runtime and the keys (inferred).

    Values of one kind keep their type, objects are structs; mixed kinds become JSON texts.
    """
    names = dict.fromkeys(("_step", "_timestamp", "_runtime"))
    names |= dict.fromkeys(key for row in part for key in row)
    return pa.table({name: _column([row.get(name) for row in part], name) for name in names})


def _column(values: list[Any], name: str) -> pa.Array:
    kinds = {type(value) for value in values if value is not None}
    if name == "_step":
        return pa.array(values, pa.int64())
    if name in ("_timestamp", "_runtime") or kinds == {int, float}:
        return pa.array(values, pa.float64())
    with suppress(pa.ArrowException, OverflowError):
        if {} not in values:  # parquet has no struct without fields
            return pa.array(values)
    return pa.array([None if value is None else json.dumps(value) for value in values])
