"""Runs with something in every table that people look at, made by hand."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from unit.core.stores import Sample

from trackbridge.adapter import Capabilities, Names, Row, RunKey

START = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)

POOR = Capabilities(
    holds={
        "projects": ("notes",),
        "runs": ("name", "status", "started"),
        "params": ("key", "value"),
        "tags": ("key", "value"),
        "metrics": ("key", "step", "time", "value"),
        "files": ("owner", "path", "size", "sha256"),
        "models": ("description",),
    },
    time_unit_us=1000,
    largest=1.7976931348623157e308,
    names={"metrics": Names(30, r"\w"), "params": Names(250, r"\w.")},
    lengths={"params": {"value": 40}},
)
"""Like many stores: no types, no rows, no console, times in milliseconds."""


def moment(micros: int) -> datetime:
    return START + timedelta(microseconds=micros)


def points(key: str, count: int = 5, **changes: Any) -> list[Row]:
    """Points of one metric, a millisecond and a bit apart."""
    return [
        {
            "key": key,
            "step": step,
            "time": moment(1_001 * step),
            "row": step,
            "value": step / 8,
            "system": False,
            **changes,
        }
        for step in range(count)
    ]


def sample(run_id: str = "run1", project: str = "p", instance: str = "", **tables: Any) -> Sample:
    """A run; tables that are named stand in for those that it would have."""
    rows: dict[str, list[Row]] = {
        "runs": [
            {
                "name": f"name of {run_id}",
                "status": "finished",
                "started": START,
                "deleted": False,
            }
        ],
        "params": [
            {"key": "lr", "value": "0.1", "type": "float"},
            {"key": "text", "value": "é" * 100, "type": "string"},
        ],
        "tags": [{"key": "label", "value": None}, {"key": "team", "value": "blue"}],
        "metrics": [*points("loss"), *points("val/loss"), *points("gpu", system=True, row=None)],
        "summary": [{"key": "best", "value": "0.5", "type": "float"}],
        "logs": [
            {"stream": "stdout", "line": n, "time": moment(n), "text": f"{n}%\r"} for n in range(3)
        ],
        "files": [
            {"owner": "", "path": "a/b.txt"},
            {"owner": "model:v0", "path": "weights.bin"},
            {"owner": "", "path": "far.bin", "reference": "s3://bucket/far.bin", "size": 9},
            {"owner": "", "path": "lost.bin", "size": 3},
        ],
    }
    rows.update(tables)
    contents = {("", "a/b.txt"): b"text", ("model:v0", "weights.bin"): bytes(range(256))}
    named = {(row.get("owner") or "", row["path"]) for row in rows["files"]}
    kept = {place: data for place, data in contents.items() if place in named}
    return Sample(RunKey("x", instance, project, run_id), rows, kept)
