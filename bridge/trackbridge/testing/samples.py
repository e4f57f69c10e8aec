"""One run with everything in it, made by hand: what fails here is simplest to understand."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

from trackbridge.adapter import Row, RunKey
from trackbridge.testing.made import MadeRun
from trackbridge.testing.strategies import EDGY

_START = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=timezone.utc)


def simple(run_id: str, *, project: str = "vision", loss: float = 0.5) -> MadeRun:
    """A small run that any store can hold."""
    key = RunKey("some-kind", "", project, run_id)
    points = [
        {"key": "loss", "step": step, "time": _after(step), "row": step, "value": loss / (step + 1)}
        for step in range(5)
    ]
    return MadeRun(
        key,
        {
            "runs": [{"name": f"named {run_id}", "status": "finished", "deleted": False}],
            "params": [{"key": "note", "value": f"loss is {loss}", "type": "string"}],
            "metrics": [{**point, "system": False} for point in points],
        },
        {("", f"{run_id}.txt"): run_id.encode()},
    )


def long(run_id: str, points: int) -> MadeRun:
    """A run with so many points that they need several batches."""
    run = simple(run_id)
    run.tables["metrics"] = [
        {
            "key": "loss",
            "step": step,
            "time": _after(step),
            "row": step,
            "value": step / 7,
            "system": False,
        }
        for step in range(points)
    ]
    return run


CONTENTS = {
    "empty.txt": b"",
    "deep/er/data.bin": bytes(range(256)) * 3000,
    "a name, with 漢字 & spaces.txt": b"\r\n\x00",
    "%41+b=c;d#e?.txt": b"percent",
    "UPPER.txt": b"one",
    "x" * 120 + ".txt": b"long",
}
"""Files by path."""


def shared(project: str, name: str, number: int) -> dict[str, list[Row]]:
    """A row of each shared table, named after `name` and told apart by `number`."""
    return {
        "projects": [{"project": project, "notes": f"notes {number}", "deleted": False}]
        if name == "a"
        else [],
        "models": [{"name": f"model {name}", "description": f"model {number}"}],
        "model_versions": [
            {
                "name": f"model {name}",
                "version": "1",
                "status": "READY",
                "description": f"version {number}",
            }
        ],
        "sweeps": [
            {
                "project": project,
                "sweep_id": name,
                "name": f"sweep {number}",
                "definition": '{"method": "grid"}',
            }
        ],
        "reports": [
            {
                "project": project,
                "report_id": name,
                "title": f"report {number}",
                "definition": "{}",
            }
        ],
    }


def everything(run_id: str = "the lot") -> MadeRun:
    """A run with rows in every table, with every edgy text as a value and as a name."""
    return MadeRun(
        RunKey("some-kind", "some store", "the project", run_id),
        {
            "runs": [
                {
                    "name": "named",
                    "status": "crashed",
                    "started": _START,
                    "ended": _after(3600),
                    "user": "ann",
                    "parent_run_id": "parent",
                    "group": "group",
                    "job_type": "train",
                    "sweep_id": "sweep",
                    "notes": EDGY[11],
                    "deleted": True,
                    "host": "host",
                    "program": "train.py",
                    "git_remote": "git@example.org:a/b.git",
                    "git_commit": "0" * 40,
                    "python": "3.11.7",
                    "extra": '{"os": "Linux"}',
                }
            ],
            "params": [_leaf(text, text) for text in EDGY],
            "summary": [_leaf(text, text) for text in EDGY],
            "tags": [{"key": text, "value": text} for text in EDGY]
            + [{"key": "a bare label", "value": None}],
            "metrics": _points(),
            "series": _series(),
            "metric_defs": [
                {
                    "key": "loss",
                    "glob": False,
                    "x_axis": "epoch",
                    "summary": "min",
                    "hidden": False,
                },
                {"key": "eval/*", "glob": True, "goal": "maximize", "hidden": True},
            ],
            "logs": [
                {"stream": "stdout", "line": line, "time": _after(line), "text": text}
                for line, text in enumerate(EDGY)
            ],
            "alerts": [
                {"title": "late", "level": "WARN", "time": _after(9), "definition": '{"wait": 60}'}
            ],
            "inputs": [
                {"name": "train set", "digest": "ab12", "kind": "local", "context": "train"}
            ],
            "artifacts": [
                {
                    "collection": "weights",
                    "version": "v0",
                    "kind": "model",
                    "aliases": '["latest"]',
                    "direction": "logged",
                    "created": _after(60),
                }
            ],
            "files": [
                {
                    "owner": "",
                    "path": "elsewhere.bin",
                    "reference": "s3://bucket/elsewhere.bin",
                    "size": 12,
                }
            ],
        },
        {
            ("", "notes.txt"): b"hello\r\n",
            ("", "deep/er/empty.txt"): b"",
            ("", "a name, with 漢字 & spaces.bin"): bytes(range(256)) * 500,
            ("weights:v0", "model.bin"): b"\x00\x01",
        },
    )


def _after(seconds: int) -> datetime:
    return _START + timedelta(seconds=seconds)


def _leaf(key: str, value: str) -> Row:
    path = json.dumps(key.split(".")) if "." in key else None
    return {"key": key, "path": path, "value": value, "type": "string"}


def _points() -> list[Row]:
    """Several keys in a step, repeated and equal points, every kind of number, gaps, samples."""
    own = [
        ("loss", 0, 0, 0, 1.0),
        ("accuracy", 0, 0, 0, 0.0),
        ("loss", 1, 1, 1, float("nan")),
        ("loss", 2, 2, 2, float("inf")),
        ("loss", 3, 3, 3, float("-inf")),
        ("loss", 3, 3, 3, 5e-324),
        ("loss", 3, 3, 3, 5e-324),
        ("late", -1, 4, 4, 0.1),
        ("far", 2**63 - 1, 5, 5, 1e308),
        (EDGY[11], 6, 6, 6, 2.0),
    ]
    points: list[Row] = [
        {"key": k, "step": s, "time": _after(t), "row": r, "value": v} for k, s, t, r, v in own
    ]
    points.append({"key": "bare", "step": None, "time": None, "row": None, "value": 1.0})
    samples: list[Row] = [
        {"key": "cpu", "step": n, "time": _after(n), "value": n / 3, "system": True}
        for n in range(3)
    ]
    return [{"system": False, **point} for point in [*points, *samples]]


def _series() -> list[Row]:
    values = [
        ("text", '"hello"'),
        ("boolean", "true"),
        ("integer", str(2**60 + 1)),
        ("null", "null"),
        ("json", '{"a": [1, null]}'),
        ("histogram", '{"_type": "histogram", "bins": [0.0, 1.0], "values": [3]}'),
    ]
    rows: list[Row] = [
        {"key": f"a {kind}", "step": step, "time": _after(step), "row": step, "value": value}
        for step, (kind, value) in enumerate(values)
    ]
    return [{**row, "kind": kind} for row, (kind, _) in zip(rows, values)]
