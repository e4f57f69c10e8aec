from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import any_runs
import pytest

import trackbridge
from trackbridge.engine import Report
from trackbridge.registry import open_writer
from trackbridge.testing.made import MadeRun, deliver
from trackbridge_adapters.wandb.service.login import Login
from trackbridge_adapters.wandb.service.settling import Settling

if TYPE_CHECKING:
    from wandb_server import Server

SECRET = "f00dfeed" * 5
"""An API key that no message may show."""

NUMBERS = itertools.count()
Migrate = Callable[..., Report]

CONTRACT = "tests/unit/wandb_service/test_contract.py"


@pytest.fixture(autouse=True)
def _nobody_is_logged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_CONFIG_DIR", "WANDB_DIR", "NETRC")
    for name in (*names, "WANDB_IDENTITY_TOKEN_FILE", "WANDB_X_EXTRA_HTTP_HEADERS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    for needed in ("graphql", "pyarrow"):
        pytest.importorskip(needed)
    from wandb_server import started

    with started(tmp_path / "server") as server:
        yield server


@pytest.fixture
def migrate(server: Server, monkeypatch: pytest.MonkeyPatch) -> Migrate:
    """Brings runs, in the state that they are in, from one store to the server."""
    monkeypatch.setenv("WANDB_API_KEY", server.user.key)
    source = f"memory:brought-{next(NUMBERS)}"

    def move(*runs: MadeRun, target: str = "team/p") -> Report:
        writer = open_writer(source)
        with writer.open([run.key for run in runs]) as sink:
            deliver(writer, sink, runs)
            sink.commit()
        place = f"wandb:{server.address}/{target}"
        report = trackbridge.migrate(source, place)
        assert report.verified, report.failures
        assert trackbridge.verify(source, place).holds
        return report

    return move


def killed_before_settling(monkeypatch: pytest.MonkeyPatch, call: Callable[[], object]) -> None:
    """A call that ends between the upload of its runs and what is done of their artifacts."""

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Settling, "end", die)
        call()


class Canned:
    """A server that gives the same bytes to every request, and hangs up."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def login(self) -> Login:
        return Login(self.address, SECRET)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self.requests.append(_request(connection))
                with suppress(OSError):  # who asked may be gone
                    connection.sendall(self.answer)

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


def _request(connection: socket.socket) -> bytes:
    """A request with its body, whose length has to be given."""
    content = b""
    while b"\r\n\r\n" not in content and (block := connection.recv(65536)):
        content += block
    head, _, body = content.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    length = int(lengths[0].partition(b":")[2]) if lengths else 0
    while len(body) < length and (block := connection.recv(65536)):
        body += block
    return head + b"\r\n\r\n" + body


@pytest.fixture
def canned() -> Iterator[Callable[..., Canned]]:
    """Makes servers that answer with a status line, headers and a body."""
    made: list[Canned] = []

    def make(body: bytes = b"", status: str = "200 OK", **headers: str) -> Canned:
        headers = {"Content_Length": str(len(body)), **headers}
        lines = [f"HTTP/1.1 {status}", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items() if value]
        made.append(Canned("\r\n".join([*lines, "", ""]).encode() + body))
        return made[-1]

    yield make
    for server in made:
        server.stop()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What uploads each example by itself takes minutes: test_round_trips.py has the short form."""
    any_runs.by_night(items, CONTRACT)
