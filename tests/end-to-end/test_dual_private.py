"""Nothing is sent anywhere but to the stores that a run names."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dual_logging import Training, training
from mlflow_servers import direct
from mlflow_servers import server as mlflow_server
from wandb_server import started

WATCH = """
import os, sys
def watch(event, args):
    if event == "socket.connect" and isinstance(args[1], tuple):
        with open(os.environ["WATCHED"], "a") as file:
            file.write(f"{args[1][0]}:{args[1][1]}\\n")
    if event == "socket.getaddrinfo":
        with open(os.environ["WATCHED"], "a") as file:
            file.write(f"{args[0]}:{args[1]}\\n")
sys.addaudithook(watch)
"""
"""Notes whom any Python talks to that is started here."""
TRAIN = """
import sys, trackbridge
run = trackbridge.start("private", "a run", {"lr": 0.1}, to=sys.argv[1:])
for i in range(100):
    run.log({"loss": 1.0 / (i + 1), "text": "hello", "counts": trackbridge.Histogram([1.0, 2.0])})
run.alert("look", "at this")
run.finish()
"""


@contextmanager
def proxy() -> Iterator[tuple[int, list[bytes]]]:
    """A port that notes what comes, for programs that no audit hook sees."""
    found: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def take() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    found.append(connection.recv(1000))

        threading.Thread(target=take, daemon=True).start()
        yield listener.getsockname()[1], found


@pytest.fixture
def trained(tmp_path: Path) -> Iterator[Training]:
    with training(tmp_path / "work") as found:
        yield found


def test_nobody_is_talked_to_but_the_named_stores(trained: Training, tmp_path: Path) -> None:
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCH)
    watched = tmp_path / "watched"
    with (
        proxy() as (port, requests),
        started(tmp_path / "wandb") as wandb,
        mlflow_server(tmp_path / "mlflow", *direct(tmp_path / "mlflow")) as mlflow,
    ):
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
            trained.environment[name] = f"http://127.0.0.1:{port}"
        trained.environment |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        trained.environment |= {"WATCHED": str(watched), "WANDB_MODE": "online"}
        trained.environment |= {"WANDB_BASE_URL": wandb.address, "WANDB_API_KEY": wandb.user.key}
        trained.environment |= {"WANDB_ERROR_REPORTING": "true", "DO_NOT_TRACK": ""}
        trained.environment["PYTHONPATH"] = str(tmp_path / "watch")
        trained.run(TRAIN, f"mlflow:{mlflow}", f"wandb:{wandb.user.name}/private")
        trained.wait("done")
        named = {address.removeprefix("http://") for address in (mlflow, wandb.address)}
        assert set(watched.read_text().split()) == named
        assert requests == []
