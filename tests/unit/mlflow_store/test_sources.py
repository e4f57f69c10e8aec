"""Sources are never altered, and read consistently whatever their writers do."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import faulty
import pytest

from trackbridge.adapter import Batch, FileRef, Query, Reader, RunInfo, RunRef
from trackbridge.engine import migrate
from trackbridge.errors import ConfigError, IntegrityError, TransientError, UnsupportedError
from trackbridge.testing.base import rows_of
from trackbridge_adapters.mlflow import ADAPTER, artifacts, database
from trackbridge_adapters.mlflow.database import Database

DATABASE = Path(__file__).parents[3] / "fixtures" / "mlflow-2.22" / "mlflow.db"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    shutil.copyfile(DATABASE, tmp_path / "mlflow.db")
    return tmp_path / "mlflow.db"


def points(reader: Reader) -> int:
    refs = [info.ref for info in reader.list_runs(Query())]
    return sum(batch.data.num_rows for batch in reader.read_runs(refs, ["metrics"]))


def add_point(connection: sqlite3.Connection, step: int) -> None:
    connection.execute(
        "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan)"
        " SELECT 'added', 1.0, 5, run_uuid, ?, 0 FROM runs LIMIT 1",
        [step],
    )


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def logged(source: Path) -> Iterator[Path]:
    """A database with a write-ahead log that its writer has not closed."""
    connection = sqlite3.connect(source)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    add_point(connection, 1)
    connection.commit()
    yield source
    connection.close()


def test_what_is_in_a_write_ahead_log_is_read_and_the_log_stays_as_it_is(logged: Path) -> None:
    before = snapshot(logged.parent)
    assert points(ADAPTER.reader(str(logged), {})) == 1 + points(ADAPTER.reader(str(DATABASE), {}))
    assert snapshot(logged.parent) == before


def test_a_log_without_its_index_is_read_and_no_index_is_made(logged: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copied"
    copy.mkdir()
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{logged}{suffix}", copy / f"mlflow.db{suffix}")
    before = snapshot(copy)
    reader = ADAPTER.reader(str(copy / "mlflow.db"), {})
    assert points(reader) == 1 + points(ADAPTER.reader(str(DATABASE), {}))
    assert snapshot(copy) == before


def test_a_transaction_that_was_killed_halfway_is_not_seen_and_not_rolled_back(
    source: Path, tmp_path: Path
) -> None:
    whole = points(ADAPTER.reader(str(source), {}))
    connection = sqlite3.connect(source, isolation_level=None)
    connection.execute("PRAGMA cache_size = 1")
    connection.execute("PRAGMA cache_spill = 1")
    connection.execute("BEGIN")
    for step in range(3000):
        add_point(connection, step)
    killed = tmp_path / "killed"
    killed.mkdir()
    for suffix in ("", "-journal"):
        shutil.copyfile(f"{source}{suffix}", killed / f"mlflow.db{suffix}")
    connection.close()
    before = snapshot(killed)
    assert before["mlflow.db"] != DATABASE.read_bytes(), "pages of the transaction are in the file"
    assert points(ADAPTER.reader(str(killed / "mlflow.db"), {})) == whole
    assert snapshot(killed) == before


def test_a_writer_in_the_midst_of_reading_makes_the_reading_void(source: Path) -> None:
    reader = ADAPTER.reader(str(source), {})
    refs = [info.ref for info in reader.list_runs(Query())]
    reading = reader.read_runs(refs)
    next(reading)
    with sqlite3.connect(source) as connection:
        add_point(connection, 7)
    connection.close()
    with pytest.raises(TransientError, match="was written to while it was read"):
        list(reading)
    again: list[Batch] = list(reader.read_runs(refs))
    assert sum(b.data.num_rows for b in again if b.table == "metrics") == points(
        ADAPTER.reader(str(source), {})
    )


def test_a_source_that_never_rests_is_a_fault_that_may_pass(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, steps = database.copy_file, count()

    def copied(here: Path, there: Path) -> None:
        real(here, there)
        with sqlite3.connect(source) as connection:
            add_point(connection, next(steps))
        connection.close()

    store = Database(source)
    store._restless = True
    monkeypatch.setattr(database, "copy_file", copied)
    with pytest.raises(TransientError, match="all the time"), store.session():
        pass


def test_a_journal_that_goes_while_it_is_copied_is_no_error(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Path(f"{source}-journal")
    journal.write_bytes(b"not a hot one")
    real = database.copy_file

    def copied(here: Path, there: Path) -> None:
        journal.unlink(missing_ok=True)
        real(here, there)

    monkeypatch.setattr(database, "copy_file", copied)
    assert points(ADAPTER.reader(str(source), {})) == points(ADAPTER.reader(str(DATABASE), {}))


def test_a_log_is_found_beside_the_file_that_a_link_leads_to(logged: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.db"
    link.symlink_to(logged)
    assert points(ADAPTER.reader(str(link), {})) == 1 + points(ADAPTER.reader(str(DATABASE), {}))
    named, linked = Database(logged), Database(link)
    assert (linked.identity, linked.home, linked.own_root()) == (
        named.identity,
        named.home,
        named.own_root(),
    )


def test_no_room_for_a_copy_is_one_line_that_says_where(
    logged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty.fill_disk(monkeypatch)
    with pytest.raises(ConfigError, match=r"temporary file cannot be written .* TMPDIR"):
        points(ADAPTER.reader(str(logged), {}))


def test_no_place_for_a_copy_is_one_line_too(logged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc")
    with pytest.raises(ConfigError, match=r"temporary file cannot be written .* TMPDIR"):
        points(ADAPTER.reader(str(logged), {}))


def test_a_database_that_is_written_to_all_the_time_is_recognized(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = count()
    restless = lambda store: database.Stamp((next(steps), 0, b""), ())  # noqa: E731
    monkeypatch.setattr(Database, "_stamp", restless)
    with pytest.raises(TransientError), Database(source).session():
        pass
    assert ADAPTER.recognizes(str(source))


def test_reading_goes_on_while_a_training_run_logs(source: Path) -> None:
    """Each reading sees one state, and the writer never waits for it."""
    writer = sqlite3.connect(source, timeout=0.1)
    reader = ADAPTER.reader(str(source), {})
    first = points(reader)
    for step in range(20):
        add_point(writer, step)
        writer.commit()
        assert points(reader) == first + step + 1
    writer.close()


def test_a_file_in_a_folder_with_odd_characters_is_opened(tmp_path: Path) -> None:
    folder = tmp_path / "a b#c?d%20 ü"
    folder.mkdir()
    shutil.copyfile(DATABASE, folder / "ml?flow#1.db")
    assert points(ADAPTER.reader(str(folder / "ml?flow#1.db"), {})) > 0


ODD = [
    "back\\slash.txt",
    "c:drive.txt",
    "C:/x.txt",
    "new\nline",
    " lead",
    "trail.",
    "..x",
    "a..b/c",
]


@pytest.fixture
def run_with_odd_files(source: Path) -> RunRef:
    with sqlite3.connect(source) as connection:
        folder = source.parent / "odd"
        query = "UPDATE runs SET artifact_uri = ? WHERE run_uuid = (SELECT min(run_uuid) FROM runs)"
        connection.execute(query, [str(folder)])
    connection.close()
    for name in ODD:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (source.parent / "secret").write_text("secret")
    return min((info.ref for info in listed(source)), key=lambda ref: ref.run_id)


def listed(source: Path) -> list[RunInfo]:
    return list(ADAPTER.reader(str(source), {}).list_runs(Query()))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_files_whose_names_would_lead_out_elsewhere_are_read(
    source: Path, run_with_odd_files: RunRef
) -> None:
    reader = ADAPTER.reader(str(source), {})
    rows = rows_of(reader.read_runs([run_with_odd_files], ["files"]))["files"]
    assert {row["path"] for row in rows} == set(ODD)
    for name in ODD:
        assert reader.open_file(FileRef(run_with_odd_files, "", name)).read() == name.encode()
    assert migrate(str(source), str(source.parent / "t.db")).verified


@pytest.mark.parametrize("path", ["../secret", "a/../../secret", "/secret", "nul\0"])
def test_no_path_leads_out_of_a_runs_folder(
    source: Path, run_with_odd_files: RunRef, path: str
) -> None:
    with pytest.raises(IntegrityError, match="not a path below"):
        ADAPTER.reader(str(source), {}).open_file(FileRef(run_with_odd_files, "", path))


@pytest.mark.parametrize("path", ["..\\secret", "c:secret"])
def test_on_windows_a_backslash_and_a_drive_lead_out_too(
    source: Path, run_with_odd_files: RunRef, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "WINDOWS", True)
    with pytest.raises(IntegrityError, match="not a path below"):
        ADAPTER.reader(str(source), {}).open_file(FileRef(run_with_odd_files, "", path))


@pytest.mark.parametrize(
    "location",
    ["mssql://u:p@h/db", "oracle://h/db"],
)
def test_stores_that_are_not_supported_yet_are_refused_in_one_line(location: str) -> None:
    with pytest.raises(UnsupportedError, match="not supported yet") as caught:
        ADAPTER.reader(location, {})
    assert "u:p" not in str(caught.value)


def test_an_option_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigError, match="no option 'artifact-root'; known: artifact_root"):
        ADAPTER.reader(str(DATABASE), {"artifact-root": "x"})


def test_the_last_of_all_copies_counts_if_nobody_wrote_meanwhile(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, quiet = Database(source), Database(source)._stamp()
    stamps = [quiet._replace(others=(("-wal", n, n),)) for n in range(database.ATTEMPTS - 1)]
    told = iter([n for stamp in [*stamps[1:], quiet] for n in (stamp, stamp)] + [quiet])
    monkeypatch.setattr(store, "_stamp", lambda: next(told))
    assert store._copy(stamps[0]).is_file()
