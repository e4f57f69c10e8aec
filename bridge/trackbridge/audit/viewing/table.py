"""The table of all runs as columns: what a page sorts, searches and filters by."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from trackbridge.adapter import Row, RunInfo, RunRef
from trackbridge.audit.viewing.scripts import millis

MOST_KEYS = 300
"""Params, final values and metrics each that get a column: those that most runs have."""
MOST_KNOWN = 20_000
"""Different keys that are counted; keys that appear later get no column."""
LONGEST = 200
"""Characters of a text in a cell; run pages have all."""
KINDS = ("params", "summary", "metrics")


class RunTable:
    """Gathers a row of each run, in their order."""

    def __init__(self, infos: Iterable[RunInfo]) -> None:
        self._infos = list(infos)
        self.number = {info.ref: number for number, info in enumerate(self._infos)}
        self._runs: list[dict[str, Any]] = [{} for _ in self._infos]
        self._cells: dict[str, dict[str, dict[int, Any]]] = {kind: {} for kind in KINDS}

    def add(self, ref: RunRef, run: Row, tags: Iterable[Row]) -> None:
        """Take what is known of a run besides its keys."""
        self._runs[self.number[ref]] = {
            "ended": run["ended"],
            "user": run["user"],
            "group": run["group"],
            "notes": _cut(run["notes"]),
            "parent": self.number.get(RunRef(ref.project, run["parent_run_id"] or "")),
            "deleted": bool(run["deleted"]),
            "tags": [_cut(tag_text(tag)) for tag in tags],
        }

    def cell(self, ref: RunRef, kind: str, key: str, value: Any) -> None:
        """Take the value that a run has of a key of one of `KINDS`."""
        cells = self._cells[kind]
        if key in cells or len(cells) < MOST_KNOWN:
            value = _cut(value) if isinstance(value, str) else value
            cells.setdefault(key, {})[self.number[ref]] = value

    def runs(self) -> dict[str, list[Any]]:
        """Columns that every run has a cell in."""
        infos = self._infos
        projects = {name: n for n, name in enumerate(self.projects())}
        found: dict[str, list[Any]] = {
            "project": [projects[info.ref.project] for info in infos],
            "run_id": [info.ref.run_id for info in infos],
            "name": [_cut(info.name) for info in infos],
            "status": [info.status for info in infos],
            "started": [millis(info.started) for info in infos],
            "points": [info.points for info in infos],
            "files": [info.files for info in infos],
        }
        for name in ("ended", "user", "group", "notes", "parent", "deleted", "tags"):
            found[name] = [run.get(name) for run in self._runs]
        return found

    def projects(self) -> list[str]:
        return sorted({info.ref.project for info in self._infos})

    def columns(self) -> dict[str, Any]:
        """Columns of keys, by kind; those that few runs have as (run, value)."""
        found: dict[str, Any] = {"keys": {}, "columns": []}
        for kind in KINDS:
            cells = {
                key: some
                for key, some in self._cells[kind].items()
                if kind != "metrics" or key not in self._cells["summary"]
            }
            found["keys"][kind] = len(cells)
            most = sorted(cells, key=lambda key: (-len(cells[key]), key))[:MOST_KEYS]
            found["columns"] += [self._column(kind, key, cells[key]) for key in most]
        return found

    def _column(self, kind: str, key: str, cells: dict[int, Any]) -> dict[str, Any]:
        if 2 * len(cells) > len(self._infos):
            return {
                "kind": kind,
                "key": key,
                "values": [cells.get(n) for n in range(len(self._infos))],
            }
        return {"kind": kind, "key": key, "runs": list(cells), "values": list(cells.values())}


def tag_text(tag: Row) -> str:
    """A tag, or a label that has no value, as one text."""
    return str(tag["key"]) if tag["value"] is None else f"{tag['key']}={tag['value']}"


def plain(row: Row) -> Any:
    """A param or final value: a number where it is one, else its text."""
    if row["type"] in ("integer", "float", "boolean", "null") and row["value"] is not None:
        try:
            value = json.loads(row["value"])
        except ValueError:
            return row["value"]
        if isinstance(value, float) and not abs(value) < float("inf"):
            return row["value"]
        return (
            value if isinstance(value, (bool, type(None))) or abs(value) <= 2**53 else row["value"]
        )
    return row["value"]


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= LONGEST else f"{text[:LONGEST]}…"
