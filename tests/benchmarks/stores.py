"""Makes the stores that the benchmarks run on: databases of the real SDK, filled in bulk."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

STEP_MS = 100
NAIVE_RUNS = 2
"""Runs that the naive clients read: they are far too slow for all."""


def mlflow_database(path: Path, runs: int, points: int, keys: int = 10) -> None:
    """An MLflow database at the installed head: `runs` runs of `points` points over `keys`."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path.unlink(missing_ok=True)
    SqlAlchemyStore(f"sqlite:///{path}", (path.parent / "artifacts").as_uri())
    random.seed(7)
    with sqlite3.connect(path) as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(runs)")]
        for number in range(runs):
            run = f"{number:032x}"
            _insert_run(database, run, number, columns)
            database.executemany(
                "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan)"
                " VALUES (?, ?, ?, ?, ?, 0)",
                _points(run, points, keys),
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


def _points(run: str, points: int, keys: int) -> list[tuple[str, float, int, str, int]]:
    return [
        (
            f"metric_{index % keys}",
            random.random(),
            1_700_000_000_000 + (index // keys) * STEP_MS,
            run,
            index // keys,
        )
        for index in range(points)
    ]


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
