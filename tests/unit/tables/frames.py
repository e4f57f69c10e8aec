"""Plain runs as frames of pandas, and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pandas as pd

from trackbridge.adapter import RunRef
from trackbridge.testing import PlainPoint, PlainRun

PARAM = "params."


def wide(runs: Sequence[PlainRun]) -> pd.DataFrame:
    """A row for each step of each run; one for a run without any."""
    rows = []
    for run in runs:
        params = {f"{PARAM}{key}": value for key, value in run.params.items()}
        steps: dict[tuple[int, datetime], dict[str, float]] = {}
        for point in run.points:
            steps.setdefault((point.step, point.time), {})[point.key] = point.value
        base = {"project": run.project, "run_id": run.run_id, "run_name": run.name, **params}
        for (step, time), values in steps.items():
            rows.append({**base, "step": step, "time": time.isoformat(), **values})
        if not steps:
            rows.append(base)
    return pd.DataFrame(rows).astype({"step": "Int64"})


def seeded(run: PlainRun) -> PlainRun:
    """What of a run is in such a frame."""
    return replace(run, files={})


def write(frame: pd.DataFrame, path: Path) -> None:
    """With pandas; its own writer of JSON knows 15 digits of a number."""
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
        return
    rows = ({k: v for k, v in row.items() if pd.notna(v)} for row in frame.to_dict("records"))
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def read(path: Path, *texts: str) -> pd.DataFrame:
    """With pandas; columns of texts are kept as they are."""
    if path.suffix == ".jsonl":
        return pd.read_json(path, lines=True, dtype=False, precise_float=True)
    columns = list(pd.read_csv(path, nrows=0).columns)
    named = [*texts, *(column for column in columns if column.startswith(PARAM))]
    empty = {column: [""] for column in columns if column not in named}
    kinds: dict[str, type] = dict.fromkeys(named, str)
    return pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values=empty)


def of_points(frame: pd.DataFrame, run: RunRef) -> PlainRun:
    """A run of a table of points."""
    own = frame[(frame["project"] == run.project) & (frame["run_id"] == run.run_id)]
    known = ("project", "run_id", "run_name", "step", "time")
    keys = [name for name in own.columns if name not in known and not name.startswith(PARAM)]
    points = [
        PlainPoint(key, int(row["step"]), _moment(row["time"]), float(row[key]))
        for row in own.to_dict("records")
        for key in keys
        if pd.notna(row[key])
    ]
    first = own.iloc[0]
    params = {
        name.removeprefix(PARAM): str(first[name])
        for name in own.columns
        if name.startswith(PARAM) and pd.notna(first[name]) and first[name] != ""
    }
    return PlainRun(run.project, run.run_id, first["run_name"], params, points)


def of_tables(folder: Path, suffix: str, run: RunRef) -> PlainRun:
    """A run of a folder of tables."""

    def own(table: str, *texts: str) -> list[dict[str, object]]:
        path = folder / f"{table}.{suffix}"
        if not path.exists():
            return []
        frame = read(path, "project", "run_id", *texts)
        found = frame[(frame["project"] == run.project) & (frame["run_id"] == run.run_id)]
        return found.to_dict("records")  # type: ignore[return-value]

    (shown,) = own("runs", "name")
    points = [
        PlainPoint(str(p["key"]), int(str(p["step"])), _moment(p["time"]), float(str(p["value"])))
        for p in own("metrics", "key")
    ]
    bytes_of = {
        (f["owner"], f["path"]): folder / "files" / str(f["stored"])
        for f in own("contents", "owner", "path", "stored")
    }
    files = {
        str(f["path"]): bytes_of["", f["path"]].read_bytes()
        for f in own("files", "owner", "path")
        if f["owner"] == ""
    }
    params = {str(p["key"]): str(p["value"]) for p in own("params", "key", "value")}
    name = shown["name"]
    return PlainRun(
        run.project, run.run_id, None if name is None else str(name), params, points, files
    )


def _moment(text: object) -> datetime:
    return datetime.fromisoformat(str(text).replace("Z", "+00:00")).astimezone(timezone.utc)
