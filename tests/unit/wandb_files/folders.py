"""Run folders that tests write by hand, record by record."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unit.wandb_files.stores import open_store, read

from trackbridge.adapter import Row, RunRef
from trackbridge_adapters.wandb.framing import RecordWriter
from trackbridge_adapters.wandb.records import Record

REF = RunRef("team/project", "abc")


def record(fill: Callable[[Any], object]) -> Any:
    made = Record()
    fill(made)
    return made


def run_record(run_id: str = "abc", started: int = 1_700_000_000, **config: Any) -> Any:
    made = Record()
    made.run.run_id, made.run.entity, made.run.project = run_id, "team", "project"
    made.run.start_time.seconds = started
    for key, value in config.items():
        made.run.config.update.add(key=key, value_json=json.dumps(value))
    return made


def log(step: int | None, **texts: str) -> Any:
    """A log call of keys and JSON texts; two underscores stand for the dot of a nested key."""
    made = Record()
    for name, text in texts.items():
        path = name.split("__")
        if len(path) == 1:
            made.history.item.add(key=name, value_json=text)
        else:
            made.history.item.add(nested_key=path, value_json=text)
    if step is not None:
        made.history.step.num = step
    made.history.SetInParent()
    return made


def exit_with(code: int, runtime: int = 10) -> Any:
    made = Record()
    made.exit.exit_code, made.exit.runtime = code, runtime
    made.exit.SetInParent()
    return made


def write(parent: Path, *records: Any, name: str = "run-20240101_000000-abc") -> Path:
    """A run folder; `name` with the id at its end."""
    folder = parent / name
    (folder / "files").mkdir(parents=True)
    with (folder / f"run-{name.rsplit('-', 1)[1]}.wandb").open("wb") as stream:
        writer = RecordWriter(stream)
        for made in records:
            writer.write(made.SerializeToString())
    return folder


def read_one(location: Path, ref: RunRef = REF) -> dict[str, list[Row]]:
    return read(open_store(location), ref)
