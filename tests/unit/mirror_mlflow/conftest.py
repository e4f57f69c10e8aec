"""Stores for programs that log with MLflow: new databases, and a server that all tests share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import mlflow_servers
import pytest


@pytest.fixture(scope="session")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server that stores artifacts itself."""
    folder = tmp_path_factory.mktemp("proxied")
    with mlflow_servers.server(folder, *mlflow_servers.proxied(folder)) as address:
        yield address


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without runs."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    SqlAlchemyStore(f"sqlite:///{path}", "mlruns").engine.dispose()
    return path


@pytest.fixture
def database(template: Path, tmp_path: Path) -> str:
    """Tracking URI of a new database."""
    shutil.copy(template, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture(params=["database", "proxied"])
def store(request: pytest.FixtureRequest) -> str:
    """Tracking URI of a database, and of a server."""
    found: str = request.getfixturevalue(request.param)
    return found
