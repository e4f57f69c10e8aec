"""Chunks are written whole or not at all, whatever goes wrong."""

from __future__ import annotations

import io
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from faulty import Stale, fill_disk

from trackbridge.adapter import STORE, FileRef, Query, Row, RunKey, Writer
from trackbridge.columns import batches
from trackbridge.errors import (
    ConfigError,
    DuplicatePointsError,
    IntegrityError,
    TransientError,
)
from trackbridge.testing import MadeRun
from trackbridge.testing.made import deliver
from trackbridge_adapters.mlflow import ADAPTER, locked

TIME = datetime(2026, 3, 1, tzinfo=timezone.utc)


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return ADAPTER.writer(str(tmp_path / "mlflow.db"), {})


def run(name: str, project: str = "p", kind: str = "toy", **tables: list[Row]) -> MadeRun:
    tables.setdefault("runs", [{"name": name, "status": "finished", "deleted": False}])
    return MadeRun(RunKey(kind, "", project, name), dict(tables))


def point(key: str = "loss", step: int = 0, value: float = 1.0, **more: Any) -> Row:
    return {"key": key, "step": step, "time": TIME, "value": value, "system": False, **more}


def select(writer: Any, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(f"file:{writer.database.path}?mode=ro", uri=True)
    rows = connection.execute(query).fetchall()
    connection.close()
    return rows


def write(writer: Writer, runs: Sequence[MadeRun], **files: bytes) -> None:
    with writer.open([run.key for run in runs]) as sink:
        deliver(writer, sink, runs)
        for path, content in files.items():
            for made in runs:
                sink.put_file(FileRef(writer.target(made.key), "", path), io.BytesIO(content))
        sink.commit()


def files_below(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_equal_points_are_refused_by_name(writer: Writer) -> None:
    made = run("a", metrics=[point(), point()])
    with pytest.raises(DuplicatePointsError), writer.open([made.key]) as sink:
        deliver(writer, sink, [made])
        sink.commit()
    assert list(writer.list_runs(Query())) == []


def test_nan_and_zero_at_one_place_are_two_points(writer: Writer) -> None:
    write(writer, [run("a", metrics=[point(value=0.0), point(value=float("nan"))])])
    rows = select(writer, "SELECT value, is_nan FROM metrics ORDER BY is_nan")
    assert rows == [(0.0, 0), (0.0, 1)]


def test_the_latest_point_is_found_across_batches(writer: Writer) -> None:
    made = run("a")
    ref = writer.target(made.key)._asdict()
    with writer.open([made.key]) as sink:
        for steps in ((5, 6), (9, 1), (2, 8)):
            rows = [{**ref, **point(step=s, value=float(s))} for s in steps]
            for batch in batches("metrics", rows):
                sink.write(batch)
        deliver(writer, sink, [made])
        sink.commit()
    assert select(writer, "SELECT key, step, value FROM latest_metrics") == [("loss", 9, 9.0)]


def test_at_one_step_the_later_time_and_then_the_greater_value_is_the_latest(
    writer: Writer,
) -> None:
    later = TIME.replace(hour=1)
    rows = [point("a", value=9.0), point("a", value=1.0, time=later)]
    rows += [point("b", value=2.0), point("b", value=3.0), point("b", value=float("nan"))]
    write(writer, [run("a", metrics=rows)])
    latest = select(writer, "SELECT key, value, is_nan FROM latest_metrics ORDER BY key")
    assert latest == [("a", 1.0, 0), ("b", 3.0, 0)]


def test_writing_again_leaves_nothing_of_the_former_rows(writer: Writer) -> None:
    old = run(
        "a",
        metrics=[point("gone")],
        params=[{"key": "gone", "value": "x", "type": "string"}],
        inputs=[{"name": "gone", "digest": "d", "kind": "dataset"}],
    )
    write(writer, [old], gone=b"x")
    write(writer, [run("a")])
    for table in ("metrics", "latest_metrics", "params", "inputs", "input_tags", "datasets"):
        assert select(writer, f"SELECT * FROM {table}") == [], table


def test_a_run_that_changes_its_experiment_takes_its_files_along(
    writer: Any, tmp_path: Path
) -> None:
    write(writer, [run("a")], kept=b"x")
    (path,) = select(writer, "SELECT artifact_uri FROM runs")[0]
    with sqlite3.connect(writer.database.path) as database:
        database.execute("UPDATE experiments SET name = 'renamed' WHERE name = 'p'")
    database.close()
    write(writer, [run("a")], kept=b"x")
    (moved,) = select(writer, "SELECT artifact_uri FROM runs")[0]
    assert moved != path
    assert not Path(path).exists()
    assert Path(moved, "kept").read_bytes() == b"x"


def test_files_are_in_place_only_after_the_commit(writer: Any, tmp_path: Path) -> None:
    made = run("a")
    with writer.open([made.key]) as sink:
        deliver(writer, sink, [made])
        sink.put_file(FileRef(writer.target(made.key), "", "x.txt"), io.BytesIO(b"x"))
        names = files_below(tmp_path / "mlruns")
        assert names and all(name.startswith(".trackbridge-") for name in names)
        sink.commit()
    assert not [name for name in files_below(tmp_path / "mlruns") if "trackbridge" in name]


def test_what_an_aborted_chunk_left_is_cleared_away(writer: Any, tmp_path: Path) -> None:
    write(writer, [run("a")])
    sink = writer.open([run("b").key])
    sink.put_file(FileRef(writer.target(run("b").key), "", "x.txt"), io.BytesIO(b"x"))
    left = files_below(tmp_path / "mlruns")
    assert left
    sink._transaction.close()  # as the end of the process would
    write(writer, [run("c")])
    assert files_below(tmp_path / "mlruns") == set()


def test_a_commit_that_fails_puts_the_former_files_back(
    writer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(writer, [run("a")], old=b"old")
    (path,) = select(writer, "SELECT artifact_uri FROM runs")[0]

    def refuse(self: object) -> None:
        raise TransientError("the disk is gone")

    monkeypatch.setattr(locked.LockedTransaction, "commit", refuse)
    with pytest.raises(TransientError):
        write(writer, [run("a")], new=b"new")
    assert files_below(Path(path)) == {"old"}


@pytest.mark.parametrize(
    "path", ["../x", "/x", "a/../../x", "a//b", "./x", "", "a\\b", "C:x", "nul\0x", "."]
)
def test_paths_that_leave_their_folder_are_refused(writer: Any, path: str, tmp_path: Path) -> None:
    made = run("a")
    for place in (FileRef(writer.target(made.key), "", path), FileRef(STORE, "", path)):
        with pytest.raises(IntegrityError, match="not a path below"), writer.open([made.key]) as s:
            s.put_file(place, io.BytesIO(b"x"))
    assert not [name for name in files_below(tmp_path) if "mlruns" in name]


def test_a_file_and_a_folder_of_the_same_name_are_refused(writer: Writer) -> None:
    made = run("a")
    ref = writer.target(made.key)
    with pytest.raises(IntegrityError, match="same name"), writer.open([made.key]) as sink:
        sink.put_file(FileRef(ref, "", "a"), io.BytesIO(b"x"))
        sink.put_file(FileRef(ref, "", "a/b"), io.BytesIO(b"x"))


def test_files_of_a_run_outside_of_the_chunk_are_refused(writer: Writer) -> None:
    other = writer.target(run("b").key)
    with pytest.raises(IntegrityError, match="not in this chunk"), writer.open([]) as sink:
        sink.put_file(FileRef(other, "", "x"), io.BytesIO(b"x"))


def test_a_chunk_without_a_row_for_each_run_is_refused(writer: Writer) -> None:
    with pytest.raises(IntegrityError, match="one row in runs"), writer.open([run("a").key]) as s:
        s.commit()
    assert list(writer.list_runs(Query())) == []


def test_a_dataset_that_is_there_with_other_content_is_refused(writer: Writer) -> None:
    name = {"name": "d", "digest": "1", "kind": "local"}
    write(writer, [run("a" * 32, kind="mlflow", inputs=[{**name, "source": "one"}])])
    with pytest.raises(IntegrityError, match="dataset 'd' with digest '1' is there already"):
        write(writer, [run("b" * 32, kind="mlflow", inputs=[{**name, "source": "two"}])])
    write(writer, [run("c" * 32, kind="mlflow", inputs=[{**name, "source": "one"}])])
    assert len(select(writer, "SELECT * FROM datasets")) == 1


adbc_1_12 = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""ADBC 1.12, the last for Python 3.10, closes a statement twice that has failed to get a lock."""


@contextmanager
def other_process(path: Path, *statements: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that has begun to write, and ends it when it is sent a line."""
    code = (
        "import sqlite3, sys\n"
        f"c = sqlite3.connect({str(path)!r}, isolation_level=None, timeout=0.05)\n"
        "try:\n    c.execute('BEGIN IMMEDIATE')\n"
        "except sqlite3.OperationalError as error:\n    print(error, flush=True)\n    sys.exit()\n"
        "print('begun', flush=True)\nsys.stdin.readline()\nc.execute('COMMIT')\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True) as it:
        yield it
        it.communicate("end\n")


def says(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_another_writer_is_waited_for(writer: Any) -> None:
    write(writer, [run("a")])
    with other_process(writer.database.path) as other:
        assert says(other) == "begun"
        assert other.stdin is not None
        release = threading.Timer(0.3, lambda: print("end", file=other.stdin, flush=True))
        release.start()
        write(writer, [run("b")])
        release.join()
    assert len(list(writer.list_runs(Query()))) == 2


@adbc_1_12
def test_a_database_that_stays_locked_is_a_fault_that_may_pass(
    writer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(writer, [run("a")])
    monkeypatch.setattr(locked, "WRITING", ("PRAGMA busy_timeout = 10",))
    with other_process(writer.database.path) as other:
        assert says(other) == "begun"
        with pytest.raises(TransientError, match="locked by another program"):
            writer.open([run("b").key])
    write(writer, [run("b")])


def test_reading_beside_an_open_chunk_does_not_let_other_writers_in(writer: Any) -> None:
    """POSIX drops a process's locks on a file when it closes that file anywhere."""
    write(writer, [run("a")])
    with writer.open([run("b").key]):
        assert ADAPTER.recognizes(writer.address.removeprefix("mlflow:sqlite:///"))
        for reader in (writer, ADAPTER.reader(str(writer.database.path), {})):
            refs = [info.ref for info in reader.list_runs(Query())]
            assert len(refs) == 1
            assert list(reader.read_runs(refs))
        with other_process(writer.database.path) as other:
            assert says(other) == "database is locked"


def test_pages_that_a_killed_writer_left_in_the_file_go_back(writer: Any, tmp_path: Path) -> None:
    write(writer, [run("a")])
    place, killed = writer.database.path, tmp_path / "killed"
    killed.mkdir()
    connection = sqlite3.connect(place, isolation_level=None)
    for line in ("PRAGMA cache_size = 1", "PRAGMA cache_spill = 1", "BEGIN", "DELETE FROM runs"):
        connection.execute(line)
    long = "x" * 4096
    connection.executemany(
        "INSERT INTO params VALUES (?, ?, 'r')", [(str(n), long) for n in range(99)]
    )
    for suffix in ("", "-journal"):
        shutil.copyfile(f"{place}{suffix}", killed / f"{place.name}{suffix}")
    connection.close()
    assert (killed / place.name).read_bytes() != place.read_bytes()
    again = ADAPTER.writer(str(killed / place.name), {})
    assert [info.key for info in again.list_runs(Query())] == [run("a").key]
    write(again, [run("b")])
    assert len(list(again.list_runs(Query()))) == 2


@adbc_1_12
def test_only_one_chunk_is_open_at_a_time(writer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write(writer, [run("a")])
    with writer.open([run("b").key]):
        monkeypatch.setattr(locked, "WRITING", ("PRAGMA busy_timeout = 10",))
        with pytest.raises(TransientError):
            writer.open([run("c").key])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_database_without_permission_is_refused(writer: Any) -> None:
    write(writer, [run("a")])
    writer.database.path.chmod(0o444)
    with pytest.raises(ConfigError, match="not writable"):
        write(writer, [run("b")])


def test_a_full_disk_is_named_and_nothing_is_half_written(
    writer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(writer, [run("a")])
    pages = select(writer, "PRAGMA page_count")[0][0]
    full = (*locked.WRITING, f"PRAGMA max_page_count = {pages + 1}")
    monkeypatch.setattr(locked, "WRITING", full)
    big = run("b", metrics=[point(step=n) for n in range(5000)])
    with pytest.raises(ConfigError, match="no space left"), writer.open([big.key]) as sink:
        deliver(writer, sink, [big])
        sink.commit()
    assert [info.ref.run_id for info in writer.list_runs(Query())] == [
        writer.target(run("a").key).run_id
    ]


def test_experiments_keep_their_number_where_it_is_free(writer: Any) -> None:
    def project(name: str, number: str) -> Row:
        return {"project": name, "project_id": number, "deleted": False}

    rows = [project("first", "7"), project("second", "7"), project("third", "no number")]
    with writer.open([]) as sink:
        for batch in batches("projects", rows):
            sink.write(batch)
        sink.commit()
    found = select(writer, "SELECT experiment_id, name FROM experiments ORDER BY 1")
    assert found == [(0, "Default"), (7, "first"), (8, "second"), (9, "third")]


def test_experiments_that_mlflow_made_elsewhere_keep_their_own_folder(
    writer: Any, tmp_path: Path
) -> None:
    write(writer, [run("a")])
    with sqlite3.connect(writer.database.path) as database:
        query = "UPDATE experiments SET artifact_location = ? WHERE name = 'p'"
        database.execute(query, [str(tmp_path / "own place")])
    database.close()
    write(writer, [run("b")], x=b"x")
    assert len(list((tmp_path / "own place").glob("*/artifacts/x"))) == 1


def test_an_artifact_root_can_be_chosen(tmp_path: Path) -> None:
    writer = ADAPTER.writer(str(tmp_path / "x.db"), {"artifact_root": str(tmp_path / "root")})
    write(writer, [run("a")], x=b"x")
    assert len(list((tmp_path / "root").glob("*/*/artifacts/x"))) == 1


def test_files_of_the_store_are_found_whatever_artifact_root_was_chosen(
    writer: Any, tmp_path: Path
) -> None:
    write(writer, [run("a")])
    place = str(writer.database.path)
    file = FileRef(STORE, "", "trackbridge/shared.json")
    with ADAPTER.writer(place, {"artifact_root": str(tmp_path / "root")}).open([]) as sink:
        sink.put_file(file, io.BytesIO(b"{}"))
        sink.commit()
    assert ADAPTER.reader(place, {}).open_file(file).read() == b"{}"


def test_a_database_that_was_moved_here_gets_its_files_here(writer: Any, tmp_path: Path) -> None:
    write(writer, [run("a")], x=b"x")
    with sqlite3.connect(writer.database.path) as database:
        database.execute("UPDATE experiments SET artifact_location = '/nowhere/mlruns/' || name")
    database.close()
    write(writer, [run("b")], x=b"x")
    assert len(list(tmp_path.glob("mlruns/*/*/artifacts/x"))) == 2


def test_a_projects_name_that_mlflow_cannot_hold_is_fitted(writer: Writer) -> None:
    names = ["", "x" * 300, "x" * 301, "nul\0x"]
    refs = [writer.target(RunKey("toy", "", name, "r")) for name in names]
    assert len({ref.project for ref in refs}) == len(names)
    assert all(0 < len(ref.project) <= 256 and "\0" not in ref.project for ref in refs)


def test_ids_of_mlflow_stay_as_they_are(writer: Writer) -> None:
    run_id = "0123456789abcdef" * 2
    assert writer.target(RunKey("mlflow", "", "p", run_id)).run_id == run_id
    assert len(writer.target(RunKey("toy", "", "p", "short")).run_id) == 32


def test_an_error_of_a_stream_is_not_taken_for_one_of_the_file_that_it_is_copied_to(
    writer: Writer,
) -> None:
    made = run("a")
    with pytest.raises(OSError, match="Stale file handle"), writer.open([made.key]) as sink:
        sink.put_file(FileRef(writer.target(made.key), "", "x"), Stale())  # type: ignore[arg-type]


def test_a_full_disk_is_an_error_of_the_file_that_is_written(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = run("a")
    with (
        pytest.raises(ConfigError, match=r"x: cannot be written \(No space left"),
        writer.open([made.key]) as sink,
    ):
        fill_disk(monkeypatch)
        sink.put_file(FileRef(writer.target(made.key), "", "x"), io.BytesIO(b"x"))
