"""The archive keeps the contract, on disk and in an object store.

The other side is pandas and pyarrow with the documented layout, nothing of ours.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from trackbridge.adapter import RunRef
from trackbridge.schema import TABLES
from trackbridge.testing import AdapterContract, PlainPoint, PlainRun
from trackbridge_adapters.archive import ADAPTER

CHUNK = f"{'0123456789abcdef' * 2}-1"


class TestArchive(AdapterContract):
    adapter = ADAPTER

    def seed(self, location: str, runs: Sequence[PlainRun]) -> Sequence[PlainRun]:
        put(location, "trackbridge.json", b'{"format": "trackbridge archive", "layout": 1}')
        parts = {}
        for table, rows in tables_of(runs).items():
            schema = TABLES.get(table)
            buffer = BytesIO()
            pq.write_table(pa.Table.from_pylist(rows, schema), buffer)
            path, data = f"data/{table}/{CHUNK}.parquet", buffer.getvalue()
            put(location, path, data)
            parts[table] = {
                "path": path,
                "rows": len(rows),
                "size": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
            }
        for run in runs:
            for content in run.files.values():
                digest = hashlib.sha256(content).hexdigest()
                put(location, f"data/bytes/{digest[:2]}/{digest}", content)
        entries = [
            {
                "key": ["by hand", "", *run.ref],
                "ref": run.ref,
                "name": run.name,
                "status": None,
                "started": None,
                "deleted": False,
                "points": len(run.points),
                "files": len(run.files),
                "size": sum(map(len, run.files.values())),
                "fingerprint": "by hand",
            }
            for run in runs
        ]
        commit = {"generation": 1, "replaces": [], "parts": parts, "runs": entries}
        text = json.dumps(commit)
        seal = f',"sha256":"{hashlib.sha256(text.encode()).hexdigest()}"}}'
        put(location, f"data/chunks/{CHUNK}.json", (text[:-1] + seal).encode())
        return runs

    def peek(self, location: str, run: RunRef) -> PlainRun:
        def rows(table: str) -> list[Any]:
            return [
                row
                for data in every(location, f"data/{table}/*.parquet")
                for row in pd.read_parquet(BytesIO(data)).to_dict("records")
                if (row["project"], row["run_id"]) == run
            ]

        (described,) = rows("runs")
        digests = {row["path"]: row["sha256"] for row in rows("contents")}
        return PlainRun(
            *run,
            described["name"],
            {row["key"]: row["value"] for row in rows("params")},
            [
                PlainPoint(row["key"], row["step"], row["time"].to_pydatetime(), row["value"])
                for row in rows("metrics")
            ],
            {
                path: every(location, f"data/bytes/{digest[:2]}/{digest}")[0]
                for path, digest in digests.items()
            },
        )


class TestArchiveInAnObjectStore(TestArchive):
    def location(self, folder: Path) -> str:
        return f"memory://{folder.as_posix()}/store"


def tables_of(runs: Sequence[PlainRun]) -> dict[str, list[dict[str, Any]]]:
    """Rows of runs, by table of an archive."""
    tables: dict[str, list[dict[str, Any]]] = {
        "runs": [{**run.ref._asdict(), "name": run.name, "deleted": False} for run in runs],
        "params": [
            {**run.ref._asdict(), "key": key, "value": value, "type": "string"}
            for run in runs
            for key, value in run.params.items()
        ],
        "metrics": [
            {**run.ref._asdict(), **point._asdict(), "system": False}
            for run in runs
            for point in run.points
        ],
        "files": [
            {**run.ref._asdict(), "owner": "", "path": path, "size": len(content)}
            for run in runs
            for path, content in run.files.items()
        ],
    }
    tables["contents"] = [
        {
            **run.ref._asdict(),
            "owner": "",
            "path": path,
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
        }
        for run in runs
        for path, content in run.files.items()
    ]
    return tables


def put(location: str, path: str, content: bytes) -> None:
    """Write a file of an archive."""
    system, root = fsspec.core.url_to_fs(location)
    system.makedirs(f"{root}/{path.rpartition('/')[0]}", exist_ok=True)
    system.pipe_file(f"{root}/{path}", content)


def every(location: str, pattern: str) -> list[bytes]:
    """The contents of all files of an archive that a pattern means."""
    system, root = fsspec.core.url_to_fs(location)
    return [system.cat_file(path) for path in sorted(system.glob(f"{root}/{pattern}"))]
