"""Makes the stores that the benchmarks run on: databases of the real SDK, filled in bulk."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

STEP_MS = 100
NAIVE_RUNS = 2
"""Runs that the naive clients read: they are far too slow for all."""


def mlflow_database(path: Path, runs: int, points: int, keys: int = 10, long: int = 0) -> None:
    """An MLflow database at the installed head: `runs` runs of `points` points over `keys`.

    With `long`, another run lies among them that has so many.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path.unlink(missing_ok=True)
    SqlAlchemyStore(f"sqlite:///{path}", (path.parent / "artifacts").as_uri())
    random.seed(7)
    with sqlite3.connect(path) as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(runs)")]
        sizes = [points] * (runs // 2) + [long] * (long > 0) + [points] * (runs - runs // 2)
        for number, size in enumerate(sizes):
            run = f"{number:032x}"
            _insert_run(database, run, number, columns)
            database.executemany(
                "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan)"
                " VALUES (?, ?, ?, ?, ?, 0)",
                _points(run, size, keys),
            )
        database.execute(
            "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid)"
            " SELECT key, value, timestamp, max(step), is_nan, run_uuid FROM metrics"
            " GROUP BY run_uuid, key"
        )


def _insert_run(database: sqlite3.Connection, run: str, number: int, known: list[str]) -> None:
    values = {
        "run_uuid": run,
        "name": f"run-{number}",
        "source_type": "LOCAL",
        "source_name": "train.py",
        "entry_point_name": "",
        "user_id": "alice",
        "status": "FINISHED",
        "start_time": 1_700_000_000_000 + number,
        "end_time": 1_700_000_100_000 + number,
        "source_version": "",
        "lifecycle_stage": "active",
        "artifact_uri": f"artifacts/0/{run}/artifacts",
        "experiment_id": 0,
    }
    names = [name for name in values if name in known]
    marks = ", ".join("?" * len(names))
    database.execute(
        f"INSERT INTO runs ({', '.join(names)}) VALUES ({marks})", [values[n] for n in names]
    )
    params = [("lr", "0.1", run), ("batch_size", "32", run), ("model", "resnet", run)]
    database.executemany("INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)", params)
    tags = [("mlflow.user", "alice", run), ("mlflow.runName", f"run-{number}", run)]
    database.executemany("INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", tags)


def _points(run: str, points: int, keys: int) -> Iterator[tuple[str, float, int, str, int]]:
    return (
        (
            f"metric_{index % keys}",
            random.random(),
            1_700_000_000_000 + (index // keys) * STEP_MS,
            run,
            index // keys,
        )
        for index in range(points)
    )


def file_store(folder: Path, runs: int, keys: int, points: int, long: int = 0) -> int:
    """An `mlruns` of runs with `keys` metrics of `points` points, and one with `long` points.

    Gives the number of points.
    """
    random.seed(7)
    experiment = folder / "1"
    experiment.mkdir(parents=True)
    meta = {"artifact_location": experiment.as_uri(), "experiment_id": "'1'", "name": "bench"}
    _write_meta(experiment, {**meta, "lifecycle_stage": "active"})
    sizes = [(keys, points)] * runs + [(1, long)] * (long > 0)
    for number, size in enumerate(sizes):
        _write_run(experiment / f"{number:032x}", number, *size)
    return runs * keys * points + long


def _write_run(run: Path, number: int, keys: int, points: int) -> None:
    for part in ("metrics", "params", "tags", "artifacts"):
        (run / part).mkdir(parents=True)
    values = {
        "artifact_uri": f"{run.as_uri()}/artifacts",
        "end_time": 1_700_000_100_000 + number,
        "entry_point_name": "''",
        "experiment_id": "'1'",
        "lifecycle_stage": "active",
        "run_id": f"'{run.name}'",
        "run_name": f"run-{number}",
        "source_name": "''",
        "source_type": 4,
        "source_version": "''",
        "start_time": 1_700_000_000_000 + number,
        "status": 3,
        "tags": "[]",
        "user_id": "alice",
    }
    _write_meta(run, values)
    for key, value in (("lr", "0.1"), ("batch_size", "32"), ("model", "resnet")):
        (run / "params" / key).write_text(value)
    for key, value in (("mlflow.user", "alice"), ("mlflow.runName", f"run-{number}")):
        (run / "tags" / key).write_text(value)
    for key in range(keys):
        lines = (
            f"{1_700_000_000_000 + step * STEP_MS} {random.random()!r} {step}\n"
            for step in range(points)
        )
        (run / "metrics" / f"metric_{key}").write_text("".join(lines))


def _write_meta(folder: Path, values: dict[str, object]) -> None:
    text = "".join(f"{name}: {value}\n" for name, value in values.items())
    (folder / "meta.yaml").write_text(text)


def run_folder(folder: Path, records: int) -> int:
    """A W&B offline run of `records` history records of 8 values, written by the real client."""
    import os
    import subprocess
    import sys

    folder.mkdir(parents=True)
    script = (
        "import wandb\n"
        "run = wandb.init(project='bench', settings=wandb.Settings(x_disable_stats=True))\n"
        f"for step in range({records}):\n"
        "    run.log({f'metric_{i}': step * 0.37 + i for i in range(8)})\n"
        "run.finish()\n"
    )
    environment = {
        **os.environ,
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(folder.parent),
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_CONSOLE": "off",
    }
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    return records
