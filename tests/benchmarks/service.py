"""The W&B service beside pyarrow on the same exports, and beside the client's own upload."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.append(str(Path(__file__).resolve().parents[1]))

STAND = "service.json"
KEYS, RUNS, ROWS = 8, 20, 10_000
"""Of the histories that are read; a server exports so many rows in one file."""
LOGGED_RUNS, LOGGED_ROWS = 4, 10_000
"""Runs, and rows of each, that both ways of uploading send."""


@contextmanager
def server(work: Path) -> Iterator[None]:
    """The tests' server in a process of its own, with exported histories; where it is in a file."""
    command = [sys.executable, __file__, str(work)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.communicate("stop\n", timeout=60)


def _serve(work: Path) -> None:
    from wandb_server import history, runs, started

    with started(work / "wandb-server") as served:
        state, user = served.state, served.user
        files, urls = [], []
        for number in range(RUNS):
            given = {"name": f"run{number}", "modelName": "exported", "entityName": "team"}
            run, _ = runs.upsert(state, user, given)
            values = np.random.default_rng(number).normal(size=(ROWS, KEYS)).tolist()
            for step, row in enumerate(values):
                named = {f"train/metric_{key}": value for key, value in enumerate(row)}
                run.history.append(json.dumps({"_step": step, "_timestamp": 1.7e9 + step, **named}))
            run.exported = len(run.history)
            run.state = "finished"
            keys = history._files(run, state.storage)
            files += [str(state.storage._path(key)) for key in keys]
            urls += map(state.storage.url, keys)
        found = {"environment": served.environment(), "files": files, "urls": urls}
        (work / STAND).write_text(json.dumps(found))
        print("ready", flush=True)
        sys.stdin.readline()


def service_exports(work: Path) -> float:
    """Ours: the exported histories of all runs, from the addresses that the server gives."""
    from trackbridge.adapter import Query
    from trackbridge.registry import open_reader

    os.environ.update(json.loads((work / STAND).read_text())["environment"])
    reader = open_reader("wandb:team/exported")
    refs = [info.ref for info in reader.list_runs(Query())]
    _warm(work)
    begun = time.perf_counter()
    points = sum(b.data.num_rows for b in reader.read_runs(refs, ["metrics"]))
    assert points == RUNS * ROWS * KEYS
    return time.perf_counter() - begun


def read_parquet(work: Path) -> float:
    """The limit: pyarrow on the same files where they lie, with no server between."""
    files = _warm(work)
    begun = time.perf_counter()
    assert sum(pq.read_table(file).num_rows for file in files) == RUNS * ROWS
    return time.perf_counter() - begun


def fetch_parquet(work: Path) -> float:
    """The same by hand, from the addresses that the server gives: fetched, then read."""
    import requests

    urls = json.loads((work / STAND).read_text())["urls"]
    _warm(work)
    begun = time.perf_counter()
    contents = (requests.get(url, timeout=60).content for url in urls)
    tables = (pq.ParquetFile(pa.BufferReader(content)).read() for content in contents)
    assert sum(table.num_rows for table in tables) == RUNS * ROWS
    return time.perf_counter() - begun


def service_upload(work: Path) -> float:
    """Ours: a chunk of runs, committed: folders made and uploaded."""
    os.environ.update(json.loads((work / STAND).read_text())["environment"])
    return _written("wandb:team/uploaded")


def folders_and_sync(work: Path) -> float:
    """By hand: the same folders made, then `wandb sync`."""
    environment = json.loads((work / STAND).read_text())["environment"]
    seconds = _written(f"wandb-files:{work}/folders", {"entity": "team"})
    folders = map(str, (work / "folders").glob("offline-run-*"))
    begun = time.perf_counter()
    command = [sys.executable, "-m", "wandb", "sync", "-p", "by-hand", *folders]
    subprocess.run(command, env={**os.environ, **environment}, capture_output=True, check=True)
    return seconds + time.perf_counter() - begun


def _warm(work: Path) -> list[str]:
    files: list[str] = json.loads((work / STAND).read_text())["files"]
    pq.read_table(files[0])
    return files


def _written(address: str, options: dict[str, str] | None = None) -> float:
    from trackbridge.adapter import Batch, RunKey
    from trackbridge.columns import batches
    from trackbridge.registry import open_writer

    writer = open_writer(address, options or {})
    keys = [RunKey("wandb", "", "team/uploaded", f"run{n}") for n in range(LOGGED_RUNS)]
    begun = time.perf_counter()
    with writer.open(keys) as sink:
        for ref in map(writer.target, keys):
            row = {**ref._asdict(), "name": "run", "status": "finished", "deleted": False}
            for batch in batches("runs", [row]):
                sink.write(batch)
            for key in range(KEYS):
                sink.write(Batch("metrics", _points(*ref, f"train/metric_{key}")))
        sink.commit()
    return time.perf_counter() - begun


def _points(project: str, run_id: str, key: str) -> pa.RecordBatch:
    from trackbridge.schema import TABLES

    step = np.arange(LOGGED_ROWS)
    labels = [pa.array([text] * LOGGED_ROWS) for text in (project, run_id, key)]
    time_us = pa.array(1_700_000_000_000_000 + step * 100_000)
    rest = [pa.array(step * 0.37), pa.array(np.zeros(LOGGED_ROWS, np.bool_))]
    columns = [*labels, pa.array(step), time_us, pa.array(step), *rest]
    schema = TABLES["metrics"]
    cast = [column.cast(field.type) for column, field in zip(columns, schema)]
    return pa.RecordBatch.from_arrays(cast, schema=schema)


ALL = (service_exports, read_parquet, fetch_parquet, service_upload, folders_and_sync)

if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
