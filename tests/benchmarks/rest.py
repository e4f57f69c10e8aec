"""The REST lane beside MLflow's own client, on one server as it is started by default."""

from __future__ import annotations

import json
import os
import random
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import stores

sys.path.append(str(Path(__file__).resolve().parents[1]))
import mlflow_servers

LOGGED_RUNS, LOGGED_POINTS = 8, 20_000
"""Runs, and points of each, that both ways of writing send."""
KEYS = 10
WARM = 40
"""Requests, each on a connection of its own, after which all workers have had one."""
STAND, PROCESSOR = "server.json", "processor.json"
POINTS, LESS = 10_000, 10
"""Points of a run that is read; and how many times less than in databases they are in all."""
TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 1


@contextmanager
def server(work: Path, uri: str) -> Iterator[None]:
    """A server on a database, with the workers that it has by default; its address in a file."""
    folder = work / "server"
    folder.mkdir(exist_ok=True)
    options = ["--backend-store-uri", uri, "--artifacts-destination", str(folder / "artifacts")]
    with mlflow_servers.started(folder, *options) as (address, process):
        (work / STAND).write_text(json.dumps({"address": address, "process": process}))
        _warm(address, process)
        yield


def _warm(address: str, process: int) -> None:
    """Have every worker answer, and wait until nothing more is loaded."""
    place = f"{address}/ajax-api/2.0/mlflow/experiments/get?experiment_id=0"
    for _ in range(WARM):
        urllib.request.urlopen(place).close()
    while True:
        before = _processor_seconds(process)
        time.sleep(2)
        if _processor_seconds(process) - before < 0.2:
            return


def rest_read(work: Path) -> float:
    """Ours: list all runs of a server and read all that they have."""
    from trackbridge.adapter import Query
    from trackbridge.registry import open_reader

    def read(address: str) -> None:
        reader = open_reader(f"mlflow:{address}")
        refs = [info.ref for info in reader.list_runs(Query())]
        points = sum(b.data.num_rows for b in reader.read_runs(refs) if b.table == "metrics")
        assert points, "nothing was read"

    return _timed(work, read)


def rest_client_history(work: Path) -> float:
    """The naive way: get_metric_history, key by key, of a few runs."""
    from mlflow import MlflowClient

    def read(address: str) -> None:
        client = MlflowClient(address)
        for run in client.search_runs(["0"], max_results=stores.NAIVE_RUNS):
            for key in run.data.metrics:
                client.get_metric_history(run.info.run_id, key)

    return _timed(work, read)


def rest_write(work: Path) -> float:
    """Ours: a chunk of runs, committed."""
    from trackbridge.adapter import Batch, RunKey
    from trackbridge.columns import batches
    from trackbridge.registry import open_writer
    from trackbridge.schema import TABLES

    def write(address: str) -> None:
        writer = open_writer(f"mlflow:{address}")
        names = [f"{random.getrandbits(128):032x}" for _ in range(LOGGED_RUNS)]
        keys = [RunKey("mlflow", "", "written", name) for name in names]
        with writer.open(keys) as sink:
            for ref in map(writer.target, keys):
                label = ref._asdict()
                columns = [
                    pa.array([label[n]] * LOGGED_POINTS, TABLES["metrics"].field(n).type)
                    for n in ("project", "run_id")
                ]
                rest = _columns().select(TABLES["metrics"].names[2:]).columns
                table = pa.Table.from_arrays([*columns, *rest], schema=TABLES["metrics"])
                for data in table.to_batches():
                    sink.write(Batch("metrics", data))
                row = {**label, "name": "run", "status": "finished", "deleted": False}
                for batch in batches("runs", [row]):
                    sink.write(batch)
            sink.commit()

    return _timed(work, write)


def rest_client_log_batch(work: Path) -> float:
    """The naive way: the same points with log_batch in its largest batches."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    def write(address: str) -> None:
        client = MlflowClient(address)
        for _ in range(LOGGED_RUNS):
            run = client.create_run("0").info.run_id
            points = [
                Metric(f"metric_{i % KEYS}", i * 0.37, 1_700_000_000_000 + i, i // KEYS)
                for i in range(LOGGED_POINTS)
            ]
            for start in range(0, LOGGED_POINTS, 1000):
                client.log_batch(run, metrics=points[start : start + 1000])
            client.set_terminated(run)

    return _timed(work, write)


def _columns() -> pa.Table:
    from trackbridge.schema import TIME

    numbers = range(LOGGED_POINTS)
    return pa.table(
        {
            "key": pa.array([f"metric_{i % KEYS}" for i in numbers]).dictionary_encode(),
            "step": pa.array([i // KEYS for i in numbers], pa.int64()),
            "time": pa.array([(1_700_000_000_000 + i) * 1000 for i in numbers]).cast(TIME),
            "row": pa.nulls(LOGGED_POINTS, pa.int64()),
            "value": pa.array([i * 0.37 for i in numbers]),
            "system": pa.array([False] * LOGGED_POINTS),
        }
    )


def _timed(work: Path, action: Callable[[str], None]) -> float:
    """Seconds of something that talks to the server; the server's CPU is written beside."""
    stand = json.loads((work / STAND).read_text())
    _import_everything()
    before, own = _processor_seconds(stand["process"]), time.process_time()
    begun = time.perf_counter()
    action(stand["address"])
    seconds = time.perf_counter() - begun
    after = _processor_seconds(stand["process"])
    used = {"server": after - before, "client": time.process_time() - own}
    (work / PROCESSOR).write_text(json.dumps(used))
    return seconds


def _import_everything() -> None:
    import mlflow.tracking  # noqa: F401 - loading is not measured

    import trackbridge_adapters.mlflow.rest_write  # noqa: F401


def _processor_seconds(process: int) -> float:
    """CPU seconds of a process and all below it, from /proc."""
    parents, used = {}, {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = place.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        number = int(place.parent.name)
        parents[number] = int(fields[1])
        used[number] = sum(map(int, fields[11:13])) / TICKS
    total = 0.0
    for number in used:
        above = number
        while above not in (process, 0):
            above = parents.get(above, 0)
        total += used[number] if above == process else 0.0
    return total


ALL = (rest_read, rest_client_history, rest_write, rest_client_log_batch)
AGAINST = {"rest_read": "rest_client_history", "rest_write": "rest_client_log_batch"}
"""Our works, and what each is held against."""
