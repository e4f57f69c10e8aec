"""Prints how long one metric of all runs takes to be in a pandas frame, beside other ways to it.

    python tests/benchmarks/frames.py [--runs 1000] [--points 5000] [--keep FOLDER]

Each way is called twice, in a process of its own, and its second time counts: so imports do not,
and files are in the system's memory. MLflow's client is asked for some runs only, one call each,
and its time is scaled to all of them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import stores

import trackbridge

KEY = "metric_3"
ASKED_RUNS = 50
"""Runs that MLflow's client is asked for."""


def of_sqlite(work: Path) -> tuple[float, int]:
    """Ours, out of the database."""
    return 1.0, len(trackbridge.open(str(work / "mlflow.db")).metrics(keys=[KEY]))


def of_archive(work: Path) -> tuple[float, int]:
    """Ours, out of the archive."""
    return 1.0, len(trackbridge.open(str(work / "archive")).metrics(keys=[KEY]))


def wide_of_archive(work: Path) -> tuple[float, int]:
    """Ours, a column of the wide form."""
    return 1.0, len(trackbridge.open(str(work / "archive")).metrics(keys=[KEY], wide=True))


def of_client(work: Path) -> tuple[float, int]:
    """MLflow's client: search for the runs, and ask for the history of each."""
    import mlflow
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{work / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri)
    begun = time.perf_counter()
    runs = mlflow.search_runs(["0"], max_results=50_000)
    searched = time.perf_counter() - begun
    begun, rows = time.perf_counter(), []
    for run in runs["run_id"][:ASKED_RUNS]:
        for point in client.get_metric_history(run, KEY):
            rows.append((run, point.key, point.step, point.timestamp, point.value))
    frame = pd.DataFrame(rows, columns=["run_id", "key", "step", "time", "value"])
    asked = time.perf_counter() - begun
    share = len(runs) / min(len(runs), ASKED_RUNS)
    return (searched + share * asked) / (searched + asked), round(len(frame) * share)


def of_parquet(work: Path) -> tuple[float, int]:
    """pandas alone, on the archive's Parquet files, with a filter."""
    filters = [("key", "==", KEY)]
    return 1.0, len(pd.read_parquet(work / "archive" / "data" / "metrics", filters=filters))


WAYS: dict[str, Callable[[Path], tuple[float, int]]] = {
    "trackbridge.open(mlflow.db).metrics(keys=[...])": of_sqlite,
    "mlflow: search_runs + get_metric_history": of_client,
    "trackbridge.open(archive).metrics(keys=[...])": of_archive,
    "the same, wide=True": wide_of_archive,
    "pandas.read_parquet(archive, filters=...)": of_parquet,
}


def measure(way: str, work: Path) -> dict[str, float]:
    """Seconds and rows of the second call."""
    for _ in range(2):
        begun = time.perf_counter()
        scale, rows = WAYS[way](work)
        seconds = (time.perf_counter() - begun) * scale
    return {"seconds": seconds, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--points", type=int, default=5000, help="of each run, over ten keys")
    parser.add_argument("--keep", type=Path, help="where the stores are made, or are already")
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.keep)))
        return
    with tempfile.TemporaryDirectory() as folder:
        work = options.keep or Path(folder)
        work.mkdir(exist_ok=True)
        if not (work / "mlflow.db").exists():
            stores.mlflow_database(work / "mlflow.db", options.runs, options.points)
        if not (work / "archive").exists():
            trackbridge.migrate(str(work / "mlflow.db"), f"archive:{work / 'archive'}")
        for way in WAYS:
            command = [sys.executable, __file__, "--keep", str(work), "--one", way]
            found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            print(f"{way:50}{found['seconds']:9.2f} s {found['rows']:12,} points")


if __name__ == "__main__":
    main()
