"""Writes and reads run folders with wandb itself, in a process of its own.

Usage: sdk.py seed FOLDER < RUNS (pickled)  |  sdk.py peek FILE > RUN (pickled)
"""

from __future__ import annotations

import itertools
import json
import os
import pickle
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from trackbridge.testing import PlainPoint, PlainRun


def call(command: str, place: Path, data: bytes = b"") -> bytes:
    """Runs this file with nothing of the machine's own settings for wandb."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    home = {"HOME": str(place.parent), "WANDB_ERROR_REPORTING": "false", "DO_NOT_TRACK": "true"}
    environment = {**kept, **home, "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [sys.executable, __file__, command, str(place)]
    return subprocess.run(
        arguments, input=data, env=environment, check=True, stdout=subprocess.PIPE, timeout=120
    ).stdout


def seed(folder: Path, runs: Sequence[PlainRun]) -> list[PlainRun]:
    written = []
    for run in runs:
        folder.mkdir(parents=True, exist_ok=True)
        written.append(_seed_one(folder, run))
    return written


def _seed_one(folder: Path, run: PlainRun) -> PlainRun:
    import wandb

    settings = wandb.Settings(console="off", x_disable_stats=True, x_save_requirements=False)
    live = wandb.init(
        project=run.project,
        id=run.run_id,
        name=run.name,
        config=dict(run.params),
        dir=str(folder),
        mode="offline",
        settings=settings,
    )
    for step, points in itertools.groupby(run.points, key=lambda point: point.step):
        row: dict[str, Any] = {}
        for point in points:
            row |= {point.key: point.value, "_timestamp": point.time.timestamp()}
        live.log(row, step=step)
    for path, content in run.files.items():
        place = Path(live.dir, path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    live.finish()
    return run


def records(path: Path) -> Iterator[Any]:
    """The records of a `.wandb` file, parsed by wandb; any damage is an error."""
    from wandb.proto import wandb_internal_pb2

    data, parts = path.read_bytes(), b""
    assert data[:7] == struct.pack("<4sHB", b":W&B", 0xBEE1, 0)
    at = 7
    while at < len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        crc, size, kind = struct.unpack("<IHB", data[at : at + 7])
        chunk = data[at + 7 : at + 7 + size]
        assert crc == zlib.crc32(chunk, zlib.crc32(bytes([kind])))
        parts = chunk if kind in (1, 2) else parts + chunk
        at += 7 + size
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record


def peek(path: Path) -> PlainRun:
    from datetime import datetime, timezone

    name: str | None = None
    params: dict[str, str] = {}
    points: list[PlainPoint] = []
    for record in records(path):
        for item in record.run.config.update:
            if item.key not in ("_wandb", "trackbridge"):
                value = json.loads(item.value_json)
                params[item.key] = value if isinstance(value, str) else item.value_json
        name = record.run.display_name or name
        row = {
            i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in record.history.item
        }
        for key in row.keys() - {"_step", "_timestamp", "_runtime"}:
            time = datetime.fromtimestamp(row["_timestamp"], timezone.utc)
            points.append(PlainPoint(key, row["_step"], time, row[key]))
    folder = path.parent / "files"
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    contents = {name: p.read_bytes() for name, p in files.items()}
    return PlainRun("", "", name, params, points, contents)


if __name__ == "__main__":
    place = Path(sys.argv[2])
    if sys.argv[1] == "seed":
        result: Any = seed(place, pickle.load(sys.stdin.buffer))
    else:
        result = peek(place)
    sys.stdout.flush()
    sys.stdout.buffer.write(b"RESULT" + pickle.dumps(result))
