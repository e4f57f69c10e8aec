"""The isolation that all other tests rely on."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest


def test_no_test_can_reach_another_machine() -> None:
    with socket.socket() as plug, pytest.raises(AssertionError, match=r"192\.0\.2\.1"):
        plug.connect(("192.0.2.1", 80))


def test_a_server_on_this_machine_can_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as plug:
        plug.connect(server.getsockname())


def test_home_and_state_are_folders_of_this_test(state: Path) -> None:
    assert Path.home() == Path(os.environ["HOME"])
    assert state.is_relative_to(Path.home())
    assert not list(Path.home().iterdir())
