"""Rows of metrics and series from the rows of an export, batch by batch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trackbridge.adapter import Batch, RunRef
from trackbridge.columns import batches, split, within
from trackbridge.optional import Excerpt
from trackbridge.schema import TABLES
from trackbridge_adapters.neptune.contents import Contents
from trackbridge_adapters.neptune.facts import TIMES, is_console, is_system
from trackbridge_adapters.neptune.homes import HISTOGRAMS, METRICS, TEXTS, astray, at_home
from trackbridge_adapters.neptune.homes import columns as columns_of
from trackbridge_adapters.neptune.parts import (
    Group,
    Part,
    labelled,
    millionths,
    of_runs,
    of_types,
    path_codes,
    where,
)
from trackbridge_adapters.neptune.steps import MILLION, Scale

PLACE = ["attribute_path", "step", "timestamp"]
EVERYTHING = Excerpt()
_MICRO = pa.timestamp("us", "UTC")
Damage = Mapping[RunRef, list[str]]


def metrics(
    parts: Iterable[Part],
    scales: Mapping[RunRef, Scale],
    damage: Damage,
    excerpt: Excerpt = EVERYTHING,
) -> Iterator[Batch]:
    """Points of some runs, or those of them that are in an excerpt."""
    for part, group in _groups(parts, scales, {METRICS}):
        if not _may_meet(group, scales, excerpt):
            continue
        found: list[str] = []
        columns = [*group.telling({METRICS}), *PLACE, *columns_of(group, [METRICS])]
        for data in part.batches(group, columns, found):
            data = of_types(of_runs(data, group, scales), group, {METRICS})
            data = at_home(data, astray(data, group))
            if excerpt.keys is not None:
                data = data.filter(where(data.column("attribute_path"), excerpt.keys))
            for ref, rows in _split(data, group):
                made = within(_metrics(ref, rows, scales[ref], found), excerpt)
                if made.num_rows:
                    yield Batch("metrics", made)
        _tell(found, group, damage)


def _groups(
    parts: Iterable[Part], refs: Mapping[RunRef, Any], types: set[str]
) -> Iterator[tuple[Part, Group]]:
    for part in parts:
        for group in part.groups:
            if group.may_have(types) and not refs.keys().isdisjoint(group.runs):
                yield part, group


def _may_meet(group: Group, scales: Mapping[RunRef, Scale], excerpt: Excerpt) -> bool:
    """Whether a group can have points of an excerpt, by its statistics."""
    keys, first, last = excerpt
    if keys is not None and not group.may_have_path(keys):
        return False
    if group.steps is None or any(scales[ref].fine for ref in group.runs if ref in scales):
        return True
    low, high = group.steps[0] // MILLION, group.steps[1] // MILLION
    # points without a step are in no statistics
    return (first is None or high >= first) and (last is None or low <= last or first is None)


def _split(data: pa.RecordBatch, group: Group) -> Iterator[tuple[RunRef, pa.RecordBatch]]:
    if group.run:
        if data.num_rows:
            yield group.run, data
        return
    yield from split(labelled(data))


def _metrics(ref: RunRef, rows: pa.RecordBatch, scale: Scale, damage: list[str]) -> pa.RecordBatch:
    """One run's points. A value that is null is NaN.

    pandas takes NaN for null where the exporter makes a table of its values, and a point without
    time and value is not exported (neptune3.py, `_convert_metrics_to_schema`).
    """
    count = rows.num_rows
    codes, texts = path_codes(rows)
    system = np.array([is_system(text or "") for text in texts], bool)[codes]
    columns = [
        _constant(ref.project, count),
        _constant(ref.run_id, count),
        rows.column("attribute_path"),
        _steps(rows, scale),
        times(rows.column("timestamp"), damage),
        pa.nulls(count, pa.int64()),
        pc.fill_null(rows.column("float_value"), float("nan")),
        pa.array(system),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=TABLES["metrics"])


def _constant(text: str, count: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([text]))


def _steps(rows: pa.RecordBatch, scale: Scale) -> pa.Array:
    column = rows.column("step")
    steps = scale.of(millionths(column), scale.marks(*path_codes(rows)))
    if column.null_count:
        return pc.if_else(column.is_valid(), steps, pa.scalar(None, pa.int64()))
    return steps


def times(column: pa.Array, damage: list[str]) -> pa.Array:
    """Times in microseconds; those that no calendar has are none."""
    least, most = pc.min_max(column.cast(pa.int64())).as_py().values()
    if least is not None and (least < TIMES[0] or most > TIMES[1]):
        damage.append("times before the year 1 or after 9999 are left out")
        numbers = column.cast(pa.int64())
        sound = pc.and_(pc.greater_equal(numbers, TIMES[0]), pc.less_equal(numbers, TIMES[1]))
        column = pc.if_else(sound, column, pa.scalar(None, column.type))
    return column.cast(_MICRO)


def series(
    parts: Iterable[Part], scales: Mapping[RunRef, Scale], damage: Damage
) -> Iterator[Batch]:
    """Texts and histograms of some runs."""
    for part, group in _groups(parts, scales, {TEXTS, HISTOGRAMS}):
        found: list[str] = []
        homes = dict.fromkeys(["string_value", "histogram_value"])
        homes |= dict.fromkeys(columns_of(group, [TEXTS, HISTOGRAMS]))
        columns = [*group.telling(()), *PLACE, *homes]
        for data in part.batches(group, columns, found):
            data = of_types(of_runs(data, group, scales), group, {TEXTS, HISTOGRAMS})
            data = at_home(data, astray(data, group))
            for ref, rows in _split(data, group):
                made = _series(ref, rows.filter(_unprinted(rows)), scales[ref], found)
                if made.num_rows:
                    yield Batch("series", made)
        _tell(found, group, damage)


def _unprinted(rows: pa.RecordBatch) -> pa.Array:
    """Rows that are no console output."""
    codes, texts = path_codes(rows)
    printed = np.array([is_console(text or "") for text in texts], bool)[codes]
    texts_only = np.asarray(pc.fill_null(where(rows.column("attribute_type"), [TEXTS]), False))
    return pa.array(~(printed & texts_only))


def _series(ref: RunRef, rows: pa.RecordBatch, scale: Scale, damage: list[str]) -> pa.RecordBatch:
    pairs = zip(
        rows.column("attribute_type").to_pylist(),
        rows.column("string_value").to_pylist(),
        rows.column("histogram_value").to_pylist(),
    )
    kinds, values = [], []
    for kind, text, histogram in pairs:
        value = text if kind == TEXTS else histogram_of(histogram)
        known = "text" if kind == TEXTS else "histogram"
        kinds.append("null" if value is None else known)
        values.append(json.dumps(value, ensure_ascii=False))
    count = rows.num_rows
    columns = [
        pa.array([ref.project] * count, pa.string()),
        pa.array([ref.run_id] * count, pa.string()),
        rows.column("attribute_path").cast(pa.string()),
        _steps(rows, scale),
        times(rows.column("timestamp"), damage),
        pa.nulls(count, pa.int64()),
        pa.array(kinds, pa.string()),
        pa.array(values, pa.string()),
        pa.nulls(count, pa.string()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=TABLES["series"])


def histogram_of(native: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A histogram as W&B has it, with Neptune's own word for what its values mean."""
    if native is None:
        return None
    return {
        "_type": "histogram",
        "values": native["values"],
        "bins": native["edges"],
        "type": native["type"],
    }


def file_points(ref: RunRef, contents: Contents, scale: Scale) -> Iterator[Batch]:
    """Points of a run whose contents are files."""
    rows = [
        {
            "project": ref.project,
            "run_id": ref.run_id,
            "key": file.attribute,
            "step": None if file.step is None else scale.step(file.attribute, file.step),
            "time": file.time,
            **point,
        }
        for file, point in contents.points
    ]
    yield from batches("series", rows)


def _tell(found: list[str], group: Group, damage: Damage) -> None:
    for ref in group.runs:
        for line in found:
            if ref in damage and line not in damage[ref]:
                damage[ref].append(line)
