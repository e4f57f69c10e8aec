from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from wandb_server import Server, started

pytest.importorskip("wandb")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with started(tmp_path / "server") as server:
        yield server
