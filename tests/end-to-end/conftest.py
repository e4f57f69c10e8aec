"""Real stores on copies, and targets of every kind."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import s3_server
from dual_logging import Training, training
from mlflow_servers import direct
from mlflow_servers import server as mlflow_server
from s3fs import S3FileSystem
from wandb_server import Server, started

from trackbridge_adapters.mlflow import empty

FIXTURES = Path(__file__).parents[2] / "fixtures"


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, str], None]:
    """Makes databases like `empty.create`, which takes seconds, from one that was made so."""
    home = tmp_path_factory.mktemp("mlflow")
    template, root = home / "empty.db", home / "no-such-root"
    empty.create(template, str(root))

    def create(path: Path, artifact_root: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(template, path)
        with sqlite3.connect(path) as database:
            database.execute(
                "update experiments set artifact_location = replace(artifact_location, ?, ?)",
                (str(root), str(artifact_root)),
            )
        database.close()

    return create


@pytest.fixture
def quick_databases(
    empty_database: Callable[[Path, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow is asked for one empty database in all tests."""
    monkeypatch.setattr(empty, "create", empty_database)


@pytest.fixture
def copied(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Copies a store with all that lies beside it; it must be the same when the test ends."""
    before: dict[Path, dict[str, str]] = {}

    def copy(name: str) -> Path:
        store = FIXTURES / name
        folder = tmp_path / "source"
        shutil.copytree(store.parent, folder, symlinks=True)
        before[folder] = tree(folder)
        return folder / store.name

    yield copy
    for folder, state in before.items():
        assert tree(folder) == state, "the source was touched"


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server on SQLite."""
    folder = tmp_path_factory.mktemp("mlflow")
    with mlflow_server(folder, *direct(folder)) as address:
        yield address


@pytest.fixture(scope="module")
def wandb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with started(tmp_path_factory.mktemp("wandb")) as found:
        yield found


@pytest.fixture
def trained(tmp_path: Path, wandb: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Training]:
    """A folder to train in, for programs whose W&B is the server of the tests."""
    monkeypatch.setenv("WANDB_BASE_URL", wandb.address)
    monkeypatch.setenv("WANDB_API_KEY", wandb.user.key)
    with training(tmp_path / "work") as found:
        yield found


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty bucket, in which the state is kept too; before any worker starts."""
    (tmp_path / "s3").mkdir()
    with s3_server.server(tmp_path / "s3") as address:
        for name, value in {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "TRACKBRIDGE_STATE": "s3://records/state",
        }.items():
            monkeypatch.setenv(name, value)
        S3FileSystem.clear_instance_cache()
        yield boto3.resource("s3").create_bucket(Bucket="records")
        S3FileSystem.clear_instance_cache()


def tree(folder: Path) -> dict[str, str]:
    """Everything below a folder: links by where they lead, files by their bytes and time."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        elif path.is_dir():
            found[name] = "folder"
        else:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[name] = f"{path.stat().st_mtime_ns} {digest}"
    return found
