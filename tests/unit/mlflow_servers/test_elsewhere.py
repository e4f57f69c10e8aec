"""Databases whose files lie behind a tracking server: read, written and replaced through it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import growing
import pytest
from mlflow.tracking import MlflowClient
from mlflow_servers import proxied, server
from servers import POSTGRES

import trackbridge
from trackbridge.errors import ConfigError
from trackbridge.optional import Extending
from trackbridge.registry import open_writer

FIXTURES = Path(__file__).parents[3] / "fixtures"
RUN = "0b5a0c7709904ad6bf6f4dd1e22e88cf"
"""The run of the fixture that has artifacts."""


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, dropped: None
) -> Iterator[tuple[str, str, Path]]:
    """Address of a server, URI of its database, folder of its artifacts."""
    folder = tmp_path_factory.mktemp("served")
    uri = POSTGRES.new("mlflow-artifacts:")
    with server(folder, *proxied(folder), "--backend-store-uri", uri) as address:
        yield address, uri, folder / "artifacts"


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_files_go_through_the_server_and_come_back(
    served: tuple[str, str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, uri, folder = served
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    source = shutil.copytree(FIXTURES / "mlflow-3.17", tmp_path / "source")
    origin, target = f"mlflow:{source}/mlflow.db", f"mlflow:{uri}"
    report = trackbridge.migrate(origin, target)
    assert report.verified, report.failures
    assert report.files and len(files(folder)) >= report.files
    client = MlflowClient(address)
    run = client.get_run(RUN)
    assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
    assert client.list_artifacts(RUN)
    back = trackbridge.migrate(target, f"mlflow:sqlite:///{tmp_path}/back.db")
    assert back.verified and back.files == report.files
    assert trackbridge.verify(origin, f"mlflow:sqlite:///{tmp_path}/back.db").holds

    before = files(folder)
    with sqlite3.connect(source / "mlflow.db") as database:
        database.execute("UPDATE runs SET name = 'renamed' WHERE run_uuid = ?", [RUN])
    database.close()
    report = trackbridge.migrate(origin, target)
    assert report.verified and report.updated == 1 and not report.copied
    assert client.get_run(RUN).info.run_name == "renamed"
    after = files(folder)
    assert sorted(after.values()) == sorted(before.values())
    assert trackbridge.verify(origin, target).holds


def test_files_of_a_run_that_grows_go_through_the_server(
    served: tuple[str, str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, uri, folder = served
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    writer = open_writer(f"mlflow:{uri}")
    assert isinstance(writer, Extending)
    run_id = writer.target(growing.grown("vision").key).run_id
    for rate in ("0.1", "0.2"):
        growing.grow(writer, "vision", rate)
        place = MlflowClient(address).get_run(run_id).info.artifact_uri.partition("/")[2]
        assert files(folder / place) == {"files/notes.txt": rate.encode(), "files/a/b.txt": b"b"}
    assert trackbridge.migrate(growing.source("vision"), f"mlflow:{uri}").verified
    assert not (folder / place).exists()


def test_without_the_servers_address_it_is_asked_for(
    served: tuple[str, str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, uri, _ = served
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ConfigError, match=r"MLFLOW_TRACKING_URI|--artifact-root"):
        trackbridge.migrate(f"mlflow:{FIXTURES}/mlflow-2.9/mlflow.db", f"mlflow:{uri}")
    address = f"sqlite:///{tmp_path}/x.db"
    report = trackbridge.migrate(f"mlflow:{uri}", f"mlflow:{address}")
    assert any("cannot be listed from here" in line for line in report.damage)
