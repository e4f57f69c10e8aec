"""Artifact folders are a database's own: nobody else's files are replaced or deleted, ever."""

from __future__ import annotations

import io
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from trackbridge.adapter import STORE, FileRef, Query, RunKey, Writer
from trackbridge.engine import migrate
from trackbridge.errors import ConfigError, TransientError
from trackbridge.testing import MadeRun
from trackbridge.testing.made import deliver
from trackbridge_adapters.mlflow import ADAPTER, locked

Create = Callable[[Path, Path], None]
FIXTURES = Path(__file__).parents[3] / "fixtures"
RUN = "0123456789abcdef" * 2


def made(run_id: str = RUN, kind: str = "mlflow") -> MadeRun:
    row = {"name": "r", "status": "finished", "deleted": False}
    return MadeRun(RunKey(kind, "", "p", run_id), {"runs": [row]})


def write(writer: Writer, run: MadeRun, **files: bytes) -> None:
    with writer.open([run.key]) as sink:
        deliver(writer, sink, [run])
        for path, content in files.items():
            sink.put_file(FileRef(writer.target(run.key), "", path), io.BytesIO(content))
        sink.commit()


def folder_of(database: Path) -> Path:
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    ((uri,),) = connection.execute("SELECT artifact_uri FROM runs").fetchall()
    connection.close()
    return Path(uri)


def contents(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def snapshot(folder: Path) -> dict[Path, tuple[int, int, bytes]]:
    """Inode, mtime and bytes of each file: what is not altered has them still."""
    return {
        path: (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def unaltered(before: dict[Path, tuple[int, int, bytes]], folder: Path) -> bool:
    after = snapshot(folder)
    return all(after.get(path) == state for path, state in before.items())


@pytest.fixture
def source(tmp_path: Path, create: Create) -> MlflowClient:
    """A database with a run that has files and one that has none, in `tmp_path/mlruns`."""
    create(tmp_path / "mlflow.db", tmp_path / "mlruns")
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    for name in ("with files", "without"):
        run = client.create_run("0", run_name=name)
        client.set_terminated(run.info.run_id)
        if name != "without":
            client.log_text(run.info.run_id, "hello", "sub/x.txt")
    return client


@pytest.mark.parametrize("shared", [False, True])
def test_a_source_with_the_same_artifact_root_keeps_every_file(
    source: MlflowClient, create: Create, tmp_path: Path, shared: bool
) -> None:
    if shared:
        create(tmp_path / "t.db", tmp_path / "mlruns")
    command = str(tmp_path / "mlflow.db"), str(tmp_path / "t.db")
    for _ in range(2):
        before = of_source(source, tmp_path)
        assert migrate(*command).verified
        assert of_source(source, tmp_path) == before
        without = next(r for r in source.search_runs(["0"]) if r.info.run_name == "without")
        source.log_text(without.info.run_id, "later", "later.txt")
    before = of_source(source, tmp_path)
    assert migrate(*command).verified
    assert of_source(source, tmp_path) == before
    target = MlflowClient(f"sqlite:///{tmp_path}/t.db")
    for run in source.search_runs(["0"]):
        here, there = (Path(c.get_run(run.info.run_id).info.artifact_uri) for c in (source, target))
        assert here != there
        assert contents(here).items() <= contents(there).items()


def of_source(client: MlflowClient, folder: Path) -> dict[Path, tuple[int, int, bytes]]:
    """The database and the files of its runs."""
    places = [Path(run.info.artifact_uri) for run in client.search_runs(["0"])]
    everything = snapshot(folder)
    return {
        path: state
        for path, state in everything.items()
        if path.name == "mlflow.db" or any(path.is_relative_to(place) for place in places)
    }


def test_a_file_store_keeps_every_file_when_a_database_beside_it_is_filled(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "mlflow-3.17" / "mlruns", tmp_path / "mlruns")
    before = snapshot(tmp_path)
    assert migrate(str(tmp_path / "mlruns"), str(tmp_path / "mlflow.db")).verified
    assert unaltered(before, tmp_path)
    assert snapshot(tmp_path / "mlruns") == {p: s for p, s in before.items() if "mlruns" in p.parts}
    assert contents(tmp_path / "mlflow-artifacts")


def test_a_database_whose_root_is_a_file_store_gets_another(tmp_path: Path, create: Create) -> None:
    shutil.copytree(FIXTURES / "mlflow-3.17" / "mlruns", tmp_path / "mlruns")
    create(tmp_path / "mlflow.db", tmp_path / "mlruns")
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute(
            "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage)"
            " VALUES (1, 'p', ?, 'active')",
            [str(tmp_path / "mlruns" / "1")],
        )
    database.close()
    before = snapshot(tmp_path / "mlruns")
    writer = ADAPTER.writer(str(tmp_path / "mlflow.db"), {})
    write(writer, made(), x=b"x")
    file = FileRef(STORE, "", "trackbridge/shared.json")
    with writer.open([]) as sink:
        sink.put_file(file, io.BytesIO(b"{}"))
        sink.commit()
    assert snapshot(tmp_path / "mlruns") == before
    assert folder_of(tmp_path / "mlflow.db").is_relative_to(tmp_path / "mlflow-artifacts")
    assert ADAPTER.reader(str(tmp_path / "mlflow.db"), {}).open_file(file).read() == b"{}"


@pytest.mark.parametrize("below", ["", "0", "0/deep/down"])
def test_a_file_store_as_artifact_root_is_refused_with_the_way_out(
    tmp_path: Path, below: str
) -> None:
    shutil.copytree(FIXTURES / "mlflow-3.17" / "mlruns", tmp_path / "mlruns")
    root = str(tmp_path / "mlruns" / below)
    with pytest.raises(ConfigError, match=r"file store of MLflow's.*--artifact-root PATH"):
        ADAPTER.writer(str(tmp_path / "t.db"), {"artifact_root": root})


def test_a_database_inside_a_file_store_is_refused(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "mlflow-3.17" / "mlruns", tmp_path / "mlruns")
    before = snapshot(tmp_path)
    with pytest.raises(ConfigError, match="--artifact-root PATH"):
        write(ADAPTER.writer(str(tmp_path / "mlruns" / "t.db"), {}), made())
    assert snapshot(tmp_path) == before


def test_two_databases_in_one_folder_have_files_of_their_own(tmp_path: Path) -> None:
    one, two = (ADAPTER.writer(str(tmp_path / name), {}) for name in ("one.db", "two.db"))
    for content in (b"first", b"second"):
        write(one, made(), x=b"of one")
        write(two, made(), x=content)
        assert contents(folder_of(tmp_path / "one.db")) == {"x": b"of one"}
        assert contents(folder_of(tmp_path / "two.db")) == {"x": content}
    assert len(list(tmp_path.rglob("x"))) == 2


def test_two_databases_with_one_root_have_files_of_their_own(tmp_path: Path) -> None:
    root = {"artifact_root": str(tmp_path / "root")}
    one, two = (ADAPTER.writer(str(tmp_path / f"{n}.db"), root) for n in ("one", "two"))
    for content in (b"first", b"second", b"third"):
        write(one, made(), x=b"of one")
        write(two, made(), x=content)
        assert contents(folder_of(tmp_path / "one.db")) == {"x": b"of one"}
        assert contents(folder_of(tmp_path / "two.db")) == {"x": content}
    assert len(list(tmp_path.rglob("x"))) == 2


@pytest.mark.parametrize(
    ("there", "root"),
    [
        ("nothing", "mlruns"),
        ("mlruns/", "mlruns"),
        ("mlruns/x", "new-artifacts"),
        ("mlruns", "new-artifacts"),
        ("other.db", "new-artifacts"),
        ("other.txt", "mlruns"),
    ],
)
def test_the_root_of_a_new_database_is_as_mlflow_chooses_it_if_that_is_free(
    tmp_path: Path, there: str, root: str
) -> None:
    if there.endswith("/"):
        (tmp_path / there).mkdir()
    else:
        (tmp_path / there).parent.mkdir(exist_ok=True)
        (tmp_path / there).write_text("somebody's")
    write(ADAPTER.writer(str(tmp_path / "new.db"), {}), made("a", "toy"), x=b"x")
    assert folder_of(tmp_path / "new.db").parents[2] == tmp_path / root


def test_what_is_written_again_stands_in_another_folder_and_the_former_one_goes(
    tmp_path: Path,
) -> None:
    writer = ADAPTER.writer(str(tmp_path / "t.db"), {})
    found = []
    for content in (b"1", b"2", b"3"):
        write(writer, made(), x=content)
        found.append(folder_of(tmp_path / "t.db"))
        assert contents(tmp_path / "mlruns") == {
            str(found[-1].relative_to(tmp_path / "mlruns") / "x"): content
        }
    assert [folder.name for folder in found] == ["artifacts", "artifacts.2", "artifacts"]


KILLED = """
import io, os, sys
from pathlib import Path
from trackbridge.adapter import FileRef, RunKey
from trackbridge.testing import MadeRun
from trackbridge.testing.made import deliver
from trackbridge_adapters.mlflow import ADAPTER, locked, staging

def before(self):
    os._exit(9)

def after(self, commit=locked.LockedTransaction.commit):
    commit(self)
    os._exit(9)

def half(source, target, move=staging._move):
    move(source, target)
    os._exit(9)

if sys.argv[2] == "amid the moves":
    staging._move = half
else:
    locked.LockedTransaction.commit = {"before": before, "after": after}[sys.argv[2]]
writer = ADAPTER.writer(sys.argv[1], {})
row = {"name": "r", "status": "finished", "deleted": False}
run = MadeRun(RunKey("mlflow", "", "p", "0123456789abcdef" * 2), {"runs": [row]})
with writer.open([run.key]) as sink:
    deliver(writer, sink, [run])
    for path in ("x", "y"):
        sink.put_file(FileRef(writer.target(run.key), "", path), io.BytesIO(b"new"))
    sink.commit()
"""


def kill(database: Path, moment: str) -> None:
    """Write the run in a process that dies at that moment."""
    paths = os.pathsep.join(sys.path)
    environment = {**os.environ, "PYTHONPATH": paths}
    command = [sys.executable, "-c", KILLED, str(database), moment]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 9, done.stderr


@pytest.mark.parametrize("moment", ["before", "amid the moves", "after"])
def test_whoever_is_killed_leaves_either_the_former_files_or_the_new_ones(
    tmp_path: Path, moment: str
) -> None:
    writer = ADAPTER.writer(str(tmp_path / "t.db"), {})
    write(writer, made(), x=b"old")
    former = folder_of(tmp_path / "t.db")
    kill(tmp_path / "t.db", moment)
    expected = {"x": b"new", "y": b"new"} if moment == "after" else {"x": b"old"}
    now = folder_of(tmp_path / "t.db")
    assert (now == former) == (moment != "after")
    assert contents(now) == expected
    with writer.open([]) as sink:
        sink.commit()
    assert contents(tmp_path / "mlruns") == {
        str(now.relative_to(tmp_path / "mlruns") / name): content
        for name, content in expected.items()
    }
    assert not list((tmp_path / "mlruns").glob(".trackbridge-*"))


@pytest.mark.parametrize("moment", ["before", "after"])
def test_nobody_elses_folder_goes_when_a_killed_chunk_is_tidied_up(
    source: MlflowClient, create: Create, tmp_path: Path, moment: str
) -> None:
    create(tmp_path / "t.db", tmp_path / "mlruns")
    before = of_source(source, tmp_path)
    kill(tmp_path / "t.db", moment)
    kill(tmp_path / "t.db", moment)
    with ADAPTER.writer(str(tmp_path / "t.db"), {}).open([]) as sink:
        sink.commit()
    assert of_source(source, tmp_path) == before
    left = {path.parts[-2:] for path in (tmp_path / "mlruns").glob(f"*/{RUN}/*/*")}
    assert len(left) == (2 if moment == "after" else 0)


def test_a_commit_that_fails_takes_the_new_folders_away_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = ADAPTER.writer(str(tmp_path / "t.db"), {})
    write(writer, made(), x=b"old")
    before = snapshot(tmp_path / "mlruns")

    def refuse(self: object) -> None:
        raise TransientError("the disk is gone")

    monkeypatch.setattr(locked.LockedTransaction, "commit", refuse)
    with pytest.raises(TransientError):
        write(writer, made(), x=b"new")
    assert snapshot(tmp_path / "mlruns") == before
    assert not list((tmp_path / "mlruns").glob(".trackbridge-*"))


def test_while_another_holds_the_database_nothing_is_tidied_up_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = ADAPTER.writer(str(tmp_path / "t.db"), {})
    write(writer, made(), x=b"old")
    real, others = locked.LockedTransaction.commit, []

    def overtaken(self: locked.LockedTransaction) -> None:
        real(self)
        other = sqlite3.connect(tmp_path / "t.db", check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        others.append(other)

    monkeypatch.setattr(locked.LockedTransaction, "commit", overtaken)
    write(writer, made(), x=b"new")
    monkeypatch.undo()
    assert contents(folder_of(tmp_path / "t.db")) == {"x": b"new"}
    others[0].close()
    write(writer, made("f" * 32), y=b"y")
    assert sorted(contents(tmp_path / "mlruns").values()) == [b"new", b"y"]


def test_registered_versions_follow_the_files_of_their_run(tmp_path: Path) -> None:
    writer: Any = ADAPTER.writer(str(tmp_path / "t.db"), {})
    write(writer, made(), x=b"x")
    client = MlflowClient(f"sqlite:///{tmp_path}/t.db")
    client.create_registered_model("m")
    client.create_model_version("m", f"{folder_of(tmp_path / 't.db')}/sub", RUN)
    write(writer, made(), x=b"new")
    assert client.get_model_version("m", "1").source == f"{folder_of(tmp_path / 't.db')}/sub"


def test_a_reader_that_knew_the_former_folder_finds_the_new_one(tmp_path: Path) -> None:
    writer: Any = ADAPTER.writer(str(tmp_path / "t.db"), {})
    write(writer, made(), x=b"old")
    reader = ADAPTER.reader(str(tmp_path / "t.db"), {})
    ((ref),) = [info.ref for info in reader.list_runs(Query())]
    assert reader.open_file(FileRef(ref, "", "x")).read() == b"old"
    write(writer, made(), x=b"new")
    assert reader.open_file(FileRef(ref, "", "x")).read() == b"new"


def test_a_database_that_was_deleted_says_nothing_of_a_new_one_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "other.db").touch()  # so that the new one has a root of its own
    target = f"mlflow:{tmp_path}/new.db"
    source = f"mlflow:{FIXTURES}/mlflow-2.9/mlflow.db"
    for _ in range(2):
        report = migrate(source, target)
        assert report.verified, report.failures
        (tmp_path / "new.db").unlink()
