"""Real MLflow servers for tests: started on a free port of this machine, ended by their process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""No consumers of jobs (MLflow 3.17): seven processes beside each server that nothing here uses."""
PATIENCE = 120
"""Seconds until a server has to answer."""


@contextmanager
def server(folder: Path, *options: str, environment: dict[str, str] | None = None) -> Iterator[str]:
    """The address of a server on SQLite whose data are in a folder; a small one, of one worker."""
    small = ["--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'server.db'}"]
    with started(folder, *small, *options, environment=environment) as (address, _):
        yield address


@contextmanager
def started(
    folder: Path, *options: str, environment: dict[str, str] | None = None, port: int | None = None
) -> Iterator[tuple[str, int]]:
    """Address and process of a server with nothing but the options that are given."""
    port = port or free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port), *options],
            cwd=folder,
            env={**os.environ, **QUIET, **(environment or {})},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _await(address, process, folder / "server.log")
        yield address, process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # it would wait for connections that are kept
        process.wait()


def proxied(folder: Path) -> list[str]:
    """Options of a server that stores artifacts itself and knows workspaces."""
    root = ["--artifacts-destination", str(folder / "artifacts")]
    return ["--serve-artifacts", *root, "--enable-workspaces"]


def direct(folder: Path) -> list[str]:
    """Options of a server whose clients reach the artifacts by themselves."""
    return ["--no-serve-artifacts", "--default-artifact-root", str(folder / "artifacts")]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(PATIENCE * 10):
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            pass
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(f"MLflow's server did not start:\n{log.read_text()[-3000:]}")
