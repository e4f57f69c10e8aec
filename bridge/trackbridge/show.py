"""Gathers what is worth seeing of one run."""

from __future__ import annotations

from typing import Any

import numpy as np

from trackbridge.adapter import Query, RunInfo
from trackbridge.columns import codes, numpy_of
from trackbridge.errors import NotFoundError
from trackbridge.registry import open_reader
from trackbridge.sidecar import Overlay

Sections = dict[str, list[list[str]]]


def summarize(store: str, run: str) -> Sections:
    """Titles and rows of cells: the run, its params, tags, metrics, other series and files.

    `run` is a run id or, where ids repeat, `project/id`. Raises `NotFoundError` if there is none.
    """
    reader = open_reader(store)
    info = _find(list(reader.list_runs(Query())), run, store)
    sections: Sections = {"run": [["key", str(info.key)]]}
    metrics: dict[str, _Series] = {}
    kinds: dict[tuple[str, str], int] = {}
    for batch in Overlay(reader, [info]).read():
        if batch.table == "metrics":
            _count(batch.data, metrics)
        elif batch.table == "series":
            for row in batch.data.to_pylist():
                place = (row["key"], row["kind"])
                kinds[place] = kinds.get(place, 0) + 1
        else:
            cells = [_cells(batch.table, row) for row in batch.data.to_pylist()]
            sections.setdefault(batch.table, []).extend(cells)
    sections["run"] += sections.pop("runs", [[]])[0] and _run_rows(sections, reader, info)
    sections["metrics"] = [[key, *series.cells()] for key, series in sorted(metrics.items())]
    sections["series"] = [[k, kind, f"{n} points"] for (k, kind), n in sorted(kinds.items())]
    return {title: rows for title, rows in sections.items() if rows}
