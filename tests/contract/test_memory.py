"""The memory adapter keeps the contract, whole and as poor as tests make it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from trackbridge.adapter import Capabilities, FileRef, Names, RunKey, RunRef
from trackbridge.schema import TABLES
from trackbridge.testing import AdapterContract, PlainPoint, PlainRun
from trackbridge_adapters import memory


class TestMemory(AdapterContract):
    adapter: ClassVar[memory.MemoryAdapter] = memory.MemoryAdapter()
    recognizable = False

    def location(self, folder: Path) -> str:
        return str(folder)

    def seed(self, location: str, runs: Sequence[PlainRun]) -> Sequence[PlainRun]:
        contents = memory.create(location, self.adapter.capabilities)
        for run in runs:
            label = {"project": run.project, "run_id": run.run_id}
            rows = {
                "runs": [{**label, "name": run.name, "deleted": False}],
                "params": [
                    {**label, "key": key, "value": value, "type": "string"}
                    for key, value in run.params.items()
                ],
                "metrics": [{**label, **point._asdict(), "system": False} for point in run.points],
                "files": [
                    {**label, "owner": "", "path": path, "size": len(content)}
                    for path, content in run.files.items()
                ],
            }
            tables = {t: pa.Table.from_pylist(r, TABLES[t]) for t, r in rows.items() if r}
            key = RunKey("memory", location, run.project, run.run_id)
            contents.runs[run.ref] = memory.Run(key, "as seeded", tables)
            for path, content in run.files.items():
                contents.files[FileRef(run.ref, "", path)] = content
        return runs

    def peek(self, location: str, run: RunRef) -> PlainRun:
        contents = memory.STORES[location]
        rows = {t: table.to_pylist() for t, table in contents.runs[run].tables.items()}
        return PlainRun(
            *run,
            rows["runs"][0]["name"],
            {row["key"]: row["value"] for row in rows.get("params", [])},
            [
                PlainPoint(row["key"], row["step"], row["time"], row["value"])
                for row in rows.get("metrics", [])
            ],
            {f.path: content for f, content in contents.files.items() if f.run == run},
        )


class TestPoorMemory(TestMemory):
    """A store with a place for little, and rough: what a small tracker is like."""

    adapter = memory.MemoryAdapter(
        Capabilities(
            holds={
                "projects": ("notes",),
                "runs": ("name", "status", "started"),
                "params": ("key", "value"),
                "tags": ("key", "value"),
                "metrics": ("key", "step", "time", "value"),
                "files": ("path", "size", "sha256", "owner"),
            },
            time_unit_us=1000,
            largest=1e300,
            names={"metrics": Names(40, r"\w./"), "params": Names(40, r"\w.")},
            lengths={"params": {"value": 500}, "tags": {"value": 100}},
        )
    )


class TestMemoryOfRows(TestMemory):
    """A store of log calls."""

    adapter = memory.MemoryAdapter(
        Capabilities.everything(rows=True, gaps=False, repeated_points=False)
    )
