"""Runs in databases that are shown while they go on, and written whole in the end."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import growing
import pytest
from mlflow.tracking import MlflowClient

import trackbridge
from trackbridge.adapter import FileRef
from trackbridge.optional import Extending
from trackbridge.registry import open_reader, open_writer
from trackbridge.testing.extending import extend
from trackbridge.testing.samples import simple


def writing(address: str) -> Extending:
    writer = open_writer(address)
    assert isinstance(writer, Extending)
    return writer


@pytest.fixture
def address(tmp_path: Path) -> str:
    """A database that is still to be made."""
    return f"sqlite:///{tmp_path}/mlflow.db"


def test_a_file_store_shows_no_runs_while_they_go_on(tmp_path: Path) -> None:
    assert not isinstance(open_writer(f"mlflow:{tmp_path}/mlruns"), Extending)


def test_a_run_that_grew_in_rounds_is_the_same_as_one_that_came_whole(address: str) -> None:
    writer, client = writing(f"mlflow:{address}"), MlflowClient
    growing.grow(writer, "vision")
    run_id = writer.target(growing.grown("vision").key).run_id
    growing.check_natively(client(address), run_id)
    shown = client(address).get_run(run_id)
    assert (shown.info.status, shown.info.end_time) == ("RUNNING", None)
    report = trackbridge.migrate(growing.source("vision"), f"mlflow:{address}")
    assert report.verified
    growing.check_natively(client(address), run_id)
    (run,) = client(address).search_runs([shown.info.experiment_id])
    assert (run.info.run_id, run.info.status) == (run_id, "FINISHED")


def test_a_param_that_changes_while_the_run_goes_on_has_its_last_value(address: str) -> None:
    writer = writing(f"mlflow:{address}")
    for number, rate in enumerate(("0.1", "0.2")):
        extend(writer, [growing.grown("vision", rate=rate)], number, number + 1)
    run_id = writer.target(growing.grown("vision").key).run_id
    shown = MlflowClient(address).get_run(run_id)
    assert shown.data.params == {"rate": "0.2"}
    assert shown.data.tags["stage"] == "0.2"


def test_files_are_replaced_one_by_one_while_the_run_goes_on(address: str, tmp_path: Path) -> None:
    writer = writing(f"mlflow:{address}")
    run = growing.grown("vision")
    extend(writer, [run], 0, 1)
    uri = MlflowClient(address).get_run(writer.target(run.key).run_id).info.artifact_uri
    later = growing.grown("vision", rate="0.2")
    del later.contents["", "a/b.txt"]
    later.tables["files"] = [row for row in later.tables["files"] if row["path"] != "a/b.txt"]
    extend(writer, [later], 1, 2)
    reader, ref = open_reader(f"mlflow:{address}"), writer.target(run.key)
    for path, content in (("files/notes.txt", b"0.2"), ("files/a/b.txt", b"b")):
        with reader.open_file(FileRef(ref, "", path)) as file:
            assert file.read() == content
    assert MlflowClient(address).get_run(ref.run_id).info.artifact_uri == uri
    assert not list(tmp_path.rglob(".trackbridge-*/*"))


def test_files_stay_whole_when_a_run_that_grew_is_written_again_and_again(address: str) -> None:
    for _ in "ab":
        writer = writing(f"mlflow:{address}")
        extend(writer, [growing.grown("vision", rate="0.3")], 0, 50)
        run_id = writer.target(growing.grown("vision").key).run_id
        assert MlflowClient(address).get_run(run_id).info.status == "RUNNING"
        assert trackbridge.migrate(growing.source("vision"), f"mlflow:{address}").verified
        path = MlflowClient(address).download_artifacts(run_id, "files/notes.txt")
        assert Path(path).read_bytes() == b"0.1"
        growing.check_natively(MlflowClient(address), run_id)


def test_a_point_that_comes_late_is_not_the_latest(address: str) -> None:
    writer, run = writing(f"mlflow:{address}"), simple("a")
    for first, last in ((3, 5), (0, 3)):
        extend(writer, [run], first, last)
    shown = MlflowClient(address).get_run(writer.target(run.key).run_id)
    assert shown.data.metrics == {"loss": run.tables["metrics"][4]["value"]}


def test_a_round_that_breaks_off_leaves_neither_rows_nor_folders(
    address: str, tmp_path: Path
) -> None:
    writer, run = writing(f"mlflow:{address}"), simple("a")
    extend(writer, [run], 0, 2)
    before = sorted(path for path in tmp_path.rglob("*") if not path.name.startswith("mlflow.db"))
    with writer.extend([simple("b").key]):
        pass
    after = sorted(path for path in tmp_path.rglob("*") if not path.name.startswith("mlflow.db"))
    assert after == before
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        assert database.execute("SELECT count(*) FROM runs").fetchone() == (1,)
