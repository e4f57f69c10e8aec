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
    frame = pd.DataFrame(rows)
    return frame.astype({"step": "Int64"})


def seeded(run: PlainRun) -> PlainRun:
    """What of a run is in such a frame."""
    return replace(run, files={})


def read_csv(path: str) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"step": "Int64"}, converters=_texts(pd.read_csv(path, nrows=0)))


def _texts(header: pd.DataFrame) -> dict[str, type]:
    return {name: str for name in header.columns if name.startswith(PARAM)}


def read_jsonl(path: str) -> pd.DataFrame:
    return pd.read_json(path, lines=True, dtype=False, precise_float=True)


def write_jsonl(frame: pd.DataFrame, path: str) -> None:
    """Of pandas' own writer the numbers have 15 digits."""
    rows = ({k: v for k, v in row.items() if pd.notna(v)} for row in frame.to_dict("records"))
    Path(path).write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def plain(frame: pd.DataFrame, run: RunRef) -> PlainRun:
    """A run of such a frame."""
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


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(timezone.utc)
