"""Runs that tests of file stores write, and how."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from trackbridge.adapter import FileRef, Row, RunKey, Writer
from trackbridge.testing import MadeRun
from trackbridge.testing.made import deliver
from trackbridge_adapters.mlflow import ADAPTER

FIXTURES = Path(__file__).parents[3] / "fixtures"
TIME = datetime(2026, 3, 1, tzinfo=timezone.utc)


def run(name: str, project: str = "p", kind: str = "toy", **tables: list[Row]) -> MadeRun:
    tables.setdefault("runs", [{"name": name, "status": "finished", "deleted": False}])
    return MadeRun(RunKey(kind, "", project, name), dict(tables))


def point(key: str = "loss", step: int = 0, value: float = 1.0, **more: Any) -> Row:
    return {"key": key, "step": step, "time": TIME, "value": value, "system": False, **more}


def param(key: str, value: str = "x") -> Row:
    return {"key": key, "value": value, "type": "string"}


def writer_of(folder: Path) -> Writer:
    return ADAPTER.writer(str(folder), {})


def write(writer: Writer, runs: Sequence[MadeRun], files: Mapping[str, bytes] = {}) -> None:
    """Commit runs in one chunk, each with the same files."""
    with writer.open([made.key for made in runs]) as sink:
        deliver(writer, sink, runs)
        for path, content in files.items():
            for made in runs:
                sink.put_file(FileRef(writer.target(made.key), "", path), io.BytesIO(content))
        sink.commit()


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
