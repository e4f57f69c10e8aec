"""A Dask cluster for tests, and callers of it: all of them processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from distributed import Client
from mlflow_servers import free_port

ROOT = Path(__file__).parents[1]
SOURCES = os.pathsep.join([str(ROOT / "bridge"), str(ROOT / "adapters")])
IN_SMALL_CHUNKS = """
import signal
from trackbridge import cli, plan
signal.signal(signal.SIGINT, signal.default_int_handler)
plan.CHUNK_RUNS = 7
cli.main(prog_name="trackbridge")
"""
"""The command line; what is started in the background does not hear Ctrl-C otherwise."""
PATIENCE = 60
"""Seconds until it has to be there."""


@dataclass
class Cluster:
    """A scheduler, and workers of one thread that nobody starts again."""

    address: str
    folder: Path
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_worker(self, *more: str, **environment: str) -> subprocess.Popen[bytes]:
        """One that works in a folder of its own, as one on another machine would."""
        options = ["--no-nanny", "--nthreads", "1", "--no-dashboard", "--death-timeout", "60"]
        options += more
        place = self.folder / f"worker{len(self.workers)}"
        place.mkdir()
        environment = {"PYTHONPATH": SOURCES, **environment}
        worker = _start("dask_worker", place, self.address, *options, **environment)
        self.workers.append(worker)
        return worker

    def said(self) -> str:
        """What scheduler and workers have written."""
        return "".join(path.read_text() for path in self.folder.rglob("*.log"))


@contextmanager
def dask(folder: Path, workers: int = 2) -> Iterator[Cluster]:
    """A cluster whose workers are there."""
    port = free_port()
    options = ["--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    scheduler = _start("dask_scheduler", folder, *options)
    cluster = Cluster(f"tcp://127.0.0.1:{port}", folder, scheduler)
    try:
        for _ in range(workers):
            cluster.start_worker()
        end = time.monotonic() + PATIENCE
        with Client(cluster.address, timeout=PATIENCE, set_as_default=False) as client:
            if workers:
                client.wait_for_workers(workers, timeout=end - time.monotonic())
        yield cluster
    finally:
        for process in [*cluster.workers, scheduler]:
            process.kill()
            process.wait()


def _start(
    program: str, place: Path, *arguments: str, **environment: str
) -> subprocess.Popen[bytes]:
    with (place / f"{program}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{program}", *arguments],
            cwd=place,
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
        )


def command(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """A call of Trackbridge, in a group of processes of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", IN_SMALL_CHUNKS, *arguments],
        env={**os.environ, "PYTHONPATH": SOURCES, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
