"""Servers that the tests of the REST lane share; each test has experiments of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import any_runs
import mlflow_servers
import pytest

CONTRACT = "tests/unit/mlflow_rest/test_contract.py"


@pytest.fixture(scope="session")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server that stores artifacts itself."""
    folder = tmp_path_factory.mktemp("proxied")
    with mlflow_servers.server(folder, *mlflow_servers.proxied(folder)) as address:
        yield address


@pytest.fixture(scope="session")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server whose artifacts lie in a folder."""
    folder = tmp_path_factory.mktemp("direct")
    with mlflow_servers.server(folder, *mlflow_servers.direct(folder)) as address:
        yield address


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder for artifacts."""
    return tmp_path / "artifacts"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A workspace for each example takes minutes: test_round_trips.py has the short form."""
    any_runs.by_night(items, CONTRACT)
