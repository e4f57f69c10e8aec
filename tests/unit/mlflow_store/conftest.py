"""One database of MLflow's making, copied wherever a test needs a new one."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from trackbridge_adapters.mlflow import empty

Create = Callable[[Path, str], None]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database at the revision of the installed MLflow."""
    folder = tmp_path_factory.mktemp("template")
    empty.create(folder / "empty.db", str(folder / "mlruns"))
    return folder / "empty.db"


@pytest.fixture(autouse=True)
def create(template: Path, monkeypatch: pytest.MonkeyPatch) -> Create:
    """Databases are copied, since MLflow takes seconds to make one."""

    def copied(path: Path, artifact_root: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(template, path)
        with sqlite3.connect(path) as database:
            query = "UPDATE experiments SET artifact_location = ?"
            database.execute(query, [f"{artifact_root}/0"])
        database.close()

    monkeypatch.setattr(empty, "create", copied)
    return copied
