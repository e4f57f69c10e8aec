"""Runs in plain Python, as every tracker knows them: what `seed` writes and `peek` reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from trackbridge.adapter import ORIGIN, Capabilities, FileRef, Reader, RunRef


class PlainPoint(NamedTuple):
    """One value of a metric; `time` is aware, in whole seconds."""

    key: str
    step: int
    time: datetime
    value: float


@dataclass(frozen=True)
class PlainRun:
    """A run: text params, metrics, and files by path."""

    project: str
    run_id: str
    name: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    points: Sequence[PlainPoint] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def ref(self) -> RunRef:
        return RunRef(self.project, self.run_id)


_NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


def _points(count: int) -> list[PlainPoint]:
    """Every key in every step, each step at one time: any store can hold that."""
    return [
        PlainPoint(key, step, _NOON + timedelta(seconds=step), scale / (step + 1))
        for step in range(count)
        for key, scale in (("loss", 1.0), ("train/accuracy", 0.5))
    ]


SEEDS: tuple[PlainRun, ...] = (
    PlainRun(
        "vision",
        "first",
        "a name with spaces",
        {"lr": "0.001", "note": 'it\'s "quoted", ü and 🚀', "layers.0.units": "64"},
        _points(20),
        {"notes.txt": b"hello\r\nworld\n", "deep/er/data.bin": bytes(range(256)) * 300},
    ),
    PlainRun("vision", "second", "second", {"lr": "0.01"}, _points(3), {"notes.txt": b"other"}),
    PlainRun("vision", "bare", "bare"),
    PlainRun("speech", "third", "second", {"lr": "1"}, _points(1)),
)
"""What the suite seeds: two projects, a run with nothing in it, a name that occurs twice."""


def comparable(run: PlainRun, capabilities: Capabilities) -> PlainRun:
    """What of a run the store claims to hold, in an order of its own."""
    held = capabilities.holds
    points = [
        PlainPoint(
            point.key,
            point.step if "step" in held.get("metrics", ()) else 0,
            point.time if "time" in held.get("metrics", ()) else _NOON,
            point.value,
        )
        for point in sorted(run.points)
        if "metrics" in held
    ]
    return replace(
        run,
        name=run.name if "name" in held.get("runs", ()) else None,
        params=dict(sorted(run.params.items())) if "params" in held else {},
        points=points,
        files=dict(sorted(run.files.items())) if "files" in held else {},
    )


def read_plain(reader: Reader, ref: RunRef) -> PlainRun:
    """A run as the adapter reads it."""
    rows: dict[str, list[dict[str, object]]] = {}
    for batch in reader.read_runs([ref], ["runs", "params", "metrics", "files"]):
        rows.setdefault(batch.table, []).extend(batch.data.to_pylist())
    files = {}
    for row in rows.get("files", []):
        path = str(row["path"])
        if row["owner"] == "" and not path.startswith(f"{ORIGIN}/"):
            with reader.open_file(FileRef(ref, "", path)) as file:
                files[path] = file.read()
    (run,) = rows["runs"]
    return PlainRun(
        ref.project,
        ref.run_id,
        run["name"],  # type: ignore[arg-type]
        {str(row["key"]): str(row["value"]) for row in rows.get("params", [])},
        [
            PlainPoint(row["key"], row["step"], row["time"], row["value"])  # type: ignore[arg-type]
            for row in rows.get("metrics", [])
            if not row["system"]
        ],
        files,
    )
