"""What holds for every test: a home and a state folder of its own, no network, no telemetry."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

QUIET = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
}
os.environ.update(QUIET)  # before any client is imported

LOOPBACK = {"127.0.0.1", "::1", "localhost"}

settings.register_profile(
    "normal",
    deadline=None,
    derandomize=True,
    max_examples=40,
    phases=[phase for phase in Phase if phase is not Phase.explain],
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "nightly",
    parent=settings.get_profile("normal"),
    derandomize=False,
    max_examples=1000,
    print_blob=True,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "normal"))


@pytest.fixture(autouse=True, scope="session")
def _own_working_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where clients put what they are not told to put elsewhere; never the checkout."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("working"))
    yield
    os.chdir(before)


@contextlib.contextmanager
def _as_found() -> Iterator[None]:
    """Clients keep what they are told in variables (MLflow its experiment), which programs that
    later tests start would take for their own."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(autouse=True, scope="module")
def _environment_of_module() -> Iterator[None]:
    """Before and after what the module's fixtures set."""
    with _as_found():
        yield


@pytest.fixture(autouse=True)
def _own_environment(_environment_of_module: None) -> Iterator[None]:
    with _as_found():
        yield


@pytest.fixture(autouse=True, scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("homes")


@pytest.fixture(autouse=True)
def _own_home(_own_environment: None, _homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Receipts and the files of clients go into folders that no other test sees."""
    home = tempfile.mkdtemp(dir=_homes)  # pytest would count all its folders for each new one
    monkeypatch.setenv("HOME", home)
    for name in ("XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TRACKBRIDGE_STATE", f"{home}/state")


@pytest.fixture
def state() -> Path:
    """The folder for receipts that this test has to itself."""
    return Path(os.environ["TRACKBRIDGE_STATE"])


def _refuse_outside(address: Any) -> None:
    if isinstance(address, tuple) and address[0] not in LOOPBACK:
        raise AssertionError(f"a test tried to reach {address[0]}: tests have no network")


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """No connection leaves this machine; loopback and Unix sockets are let through."""
    patch = pytest.MonkeyPatch()
    for name in ("connect", "connect_ex"):
        real = getattr(socket.socket, name)

        def guarded(self: socket.socket, address: Any, real: Any = real) -> Any:
            _refuse_outside(address)
            return real(self, address)

        patch.setattr(socket.socket, name, guarded)
    yield
    patch.undo()
