"""Exports of Neptune keep the contract of adapters, as a source."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from unit.neptune.exporting import folder_name, part, point, put, single, write

from trackbridge.adapter import RunRef
from trackbridge.testing import AdapterContract, PlainPoint, PlainRun
from trackbridge_adapters.neptune import ADAPTER

BORN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


class TestExports(AdapterContract):
    adapter = ADAPTER
    writable = False

    def seed(self, location: str, runs: Sequence[PlainRun]) -> Sequence[PlainRun]:
        for run in runs:
            export(Path(location), run)
        return runs

    def peek(self, location: str, run: RunRef) -> PlainRun:
        return shown(Path(location), run)


def export(root: Path, run: PlainRun) -> None:
    """As Neptune 2 is exported: a group of attributes, one of points, one of files."""
    attributes = [
        single("sys/id", "string", run.run_id),
        single("sys/name", "string", run.name),
        single("sys/creation_time", "datetime", BORN),
        *(single(key, "string", value) for key, value in run.params.items()),
    ]
    points = [point(p.key, "float_series", p.step, p.value, p.time) for p in run.points]
    files = []
    for path, content in run.files.items():
        place = f"{run.project}/{run.run_id}/{path}"
        put(root, run.project, place, content)
        files.append(single(path, "file", place))
    write(root, run.project, run.run_id, filter(None, [attributes, points, files]))


def shown(root: Path, ref: RunRef) -> PlainRun:
    rows: list[dict[str, Any]] = pq.read_table(part(root, *ref)).to_pylist()
    texts = {
        r["attribute_path"]: r["string_value"] for r in rows if r["attribute_type"] == "string"
    }
    home = root / "files" / folder_name(ref.project)
    return PlainRun(
        *ref,
        texts["sys/name"],
        {path: text for path, text in texts.items() if not path.startswith("sys/")},
        [
            PlainPoint(r["attribute_path"], int(r["step"]), r["timestamp"], r["float_value"])
            for r in rows
            if r["attribute_type"] == "float_series"
        ],
        {
            r["attribute_path"]: (home / r["file_value"]["path"]).read_bytes()
            for r in rows
            if r["attribute_type"] == "file"
        },
    )
