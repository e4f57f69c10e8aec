"""Reads exports for the tests of their adapter."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from trackbridge.adapter import FileRef, Query, RunRef
from trackbridge_adapters.neptune.reader import Export

Tables = dict[str, list[dict[str, Any]]]


def tables(root: Path, ref: RunRef | None = None, only: Collection[str] | None = None) -> Tables:
    """The rows of a run, of the only one where none is named."""
    reader = Export(str(root))
    if ref is None:
        [ref] = (info.ref for info in reader.list_runs(Query()))
    found: Tables = {}
    for batch in reader.read_runs([ref], only):
        batch.data.validate(full=True)
        found.setdefault(batch.table, []).extend(batch.data.to_pylist())
    return found


def row(found: Tables) -> dict[str, Any]:
    [run] = found["runs"]
    return run


def extra(found: Tables) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(row(found)["extra"] or "{}")
    return content


def damage(found: Tables) -> list[str]:
    lines: list[str] = extra(found).get("damage", [])
    return lines


def params(found: Tables) -> dict[str, Any]:
    """Values by attribute: what a path says, in place of the flat name."""
    return {
        "/".join(json.loads(row["path"])) if row["path"] else row["key"]: (
            row["value"] if row["type"] == "string" else json.loads(row["value"])
        )
        for row in found.get("params", [])
    }


def content(root: Path, ref: RunRef, path: str) -> bytes:
    with Export(str(root)).open_file(FileRef(ref, "", path)) as data:
        return data.read()
