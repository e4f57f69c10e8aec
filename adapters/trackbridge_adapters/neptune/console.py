"""What the processes of a run printed, in the order in which they did."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trackbridge.adapter import Batch, RunRef
from trackbridge.columns import sliced
from trackbridge.schema import TABLES
from trackbridge_adapters.neptune.facts import is_console
from trackbridge_adapters.neptune.homes import TEXTS, astray, at_home, columns
from trackbridge_adapters.neptune.parts import Part, millionths, of_runs, of_types, where
from trackbridge_adapters.neptune.points import times

_PLACE = ["attribute_path", "step", "timestamp"]


def logs(
    ref: RunRef, parts: Iterable[Part], damage: list[str]
) -> tuple[list[Batch], list[dict[str, Any]]]:
    """Console output of a run, and what of it the table `logs` does not say.

    Lines of two streams are told by their times, where each stream is one series; else series
    follow one after the other. The console output of one run is in memory at once.
    """
    series = sorted(_series(ref, parts, damage).items())
    streams = [path.rpartition("/")[2] for path, _ in series]
    notes, tables = [], []
    for (path, rows), stream in zip(series, streams):
        rows = rows.take(pa.array(np.argsort(millionths(rows.column("step")), kind="stable")))
        text = pc.fill_null(rows.column("string_value"), "")
        note = {"path": path, "steps": spans(millionths(rows.column("step")).tolist())}
        if not pc.any(pc.match_substring(text, "\n")).as_py():
            # neptune-scale takes them away, and empty lines too (logging/logging_utils.py, 0.30)
            text, note["line_ends"] = pc.binary_join_element_wise(text, "\n", ""), "added"
        notes.append(note)
        tables.append(_table(ref, stream, times(rows.column("timestamp"), damage), text))
    if not tables:
        return [], []
    table = pa.concat_tables(tables).combine_chunks()
    if len(set(streams)) == len(streams):
        printed = table.column("time").cast(pa.int64()).fill_null(np.iinfo(np.int64).min)
        order = pa.array(np.argsort(printed.to_numpy(), kind="stable"))
        table = table.take(order)
    table = table.set_column(3, "line", pa.array(np.arange(len(table))))
    made = table.cast(TABLES["logs"]).combine_chunks()
    return [b for data in made.to_batches() for b in sliced("logs", data)], notes


def _series(ref: RunRef, parts: Iterable[Part], damage: list[str]) -> dict[str, pa.RecordBatch]:
    """Rows of each series of console output."""
    found: dict[str, list[pa.RecordBatch]] = {}
    for part in parts:
        for group in part.groups:
            if ref not in group.runs or not group.may_have({TEXTS}):
                continue
            wanted = [*group.telling({TEXTS}), *_PLACE, *columns(group, [TEXTS])]
            for data in part.batches(group, wanted, damage):
                rows = of_types(of_runs(data, group, {ref}), group, {TEXTS})
                rows = at_home(rows, astray(rows, group))
                paths = rows.column("attribute_path")
                for path in filter(is_console, filter(None, paths.dictionary.to_pylist())):
                    kept = rows.filter(where(paths, [path]))
                    if kept.num_rows:
                        found.setdefault(path, []).append(kept)
    return {
        path: pa.Table.from_batches(
            [rows.select(["step", "timestamp", "string_value"]) for rows in all_rows]
        )
        .combine_chunks()
        .to_batches()[0]
        for path, all_rows in found.items()
    }


def _table(ref: RunRef, stream: str, time: pa.Array, text: pa.Array) -> pa.Table:
    count = len(text)
    columns = {
        "project": pa.array([ref.project] * count),
        "run_id": pa.array([ref.run_id] * count),
        "stream": pa.array([stream] * count),
        "line": pa.nulls(count, pa.int64()),
        "time": time,
        "text": text,
    }
    return pa.table(columns)


def spans(steps: list[int]) -> list[list[int]]:
    """Steps in millionths as `[first, distance, count]` of stretches of equal distances."""
    found: list[list[int]] = []
    for step in steps:
        last = found[-1] if found else None
        if last is None:
            found.append([step, 0, 1])
        elif last[2] == 1:
            last[1:] = [step - last[0], 2]
        elif step == last[0] + last[1] * last[2]:
            last[2] += 1
        else:
            found.append([step, 0, 1])
    return found
