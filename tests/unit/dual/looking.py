"""Runs of a folder of journals, read back through the ordinary reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trackbridge.adapter import Query, Reader, RunRef
from trackbridge.registry import open_reader

Tables = dict[str, list[dict[str, Any]]]


def read(root: Path) -> Tables:
    """The rows of the only run of a folder, by table."""
    [tables] = read_all(root).values()
    return tables


def read_all(root: Path) -> dict[RunRef, Tables]:
    reader: Reader = open_reader(f"journal:{root}")
    found: dict[RunRef, Tables] = {}
    for info in reader.list_runs(Query()):
        tables = found.setdefault(info.ref, {})
        for batch in reader.read_runs([info.ref]):
            tables.setdefault(batch.table, []).extend(batch.data.to_pylist())
    return found


def points(tables: Tables, key: str = "loss") -> list[tuple[int | None, int | None, float]]:
    """Row, step and value of each point of a key, in the order of the journal."""
    rows = tables.get("metrics", [])
    return [(row["row"], row["step"], row["value"]) for row in rows if row["key"] == key]


def series(tables: Tables) -> dict[str, tuple[str, Any]]:
    """Kind and value of the last point of each key that is no number."""
    rows = tables.get("series", [])
    return {row["key"]: (row["kind"], json.loads(row["value"])) for row in rows}


def extra(tables: Tables) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(tables["runs"][0]["extra"] or "{}")
    return told


def status(tables: Tables) -> tuple[str, int | None]:
    """Status and exit code."""
    return tables["runs"][0]["status"], extra(tables).get("exit_code")


def leaves(tables: Tables, table: str = "params") -> dict[str, Any]:
    """Values of the configuration or summary by their keys."""
    return {
        row["key"]: row["value"] if row["type"] == "string" else json.loads(row["value"])
        for row in tables.get(table, [])
    }
