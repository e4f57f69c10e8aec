"""A run with very many points is moved in pieces, by as many workers as there are."""

from __future__ import annotations

import itertools
import math
import os
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

import trackbridge
from trackbridge import plan, splitting
from trackbridge.adapter import Query, RunInfo
from trackbridge.registry import open_reader
from trackbridge.testing.base import snapshot
from trackbridge_adapters.archive import parts, reader
from trackbridge_adapters.mlflow.sql import SqlReader

KEYS = 5
STEPS = 400
POINTS = KEYS * STEPS + 10


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of MLflow's with one long run among short ones."""
    mlflow = pytest.importorskip("mlflow")
    place = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    client = mlflow.MlflowClient(f"sqlite:///{place}")
    experiment = client.create_experiment("long ones", (place.parent / "files").as_uri())
    for number, steps in enumerate((3, STEPS, 4)):
        run = client.create_run(experiment, run_name=f"run {number}").info.run_id
        client.log_param(run, "lr", 0.1)
        client.log_text(run, "content", "notes/read me.txt")
        for key in range(KEYS):
            points = [
                mlflow.entities.Metric(f"m{key}", value(key, step), 1_700_000_000_000 + step, step)
                for step in range(-2, steps)
            ]
            client.log_batch(run, metrics=points)
    return place


def value(key: int, step: int) -> float:
    return math.nan if step % 97 == 5 else key + step / 7


@pytest.fixture
def source(seeded: Path, tmp_path: Path) -> str:
    place = tmp_path / "source.db"
    place.write_bytes(seeded.read_bytes())
    return f"mlflow:sqlite:///{place}"


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "CHUNK_POINTS", 500)
    monkeypatch.setattr(splitting, "FEWEST_POINTS", 1000)
    monkeypatch.setattr(splitting, "PIECE_POINTS", 150)


def files(archive: Path) -> list[Path]:
    return sorted((archive / "data/metrics").glob("*.parquet"))


def long_run(store: str) -> RunInfo:
    return max(open_reader(store).list_runs(Query()), key=lambda info: info.points)


def check_whole(source: str, archive: Path) -> None:
    """Everything is there, once, for us and for whoever reads the files with anything else."""
    assert trackbridge.verify(source, f"archive:{archive}").holds
    rows = sum(pq.read_metadata(path).num_rows for path in files(archive))
    assert rows == POINTS + KEYS * (5 + 6)


@pytest.mark.parametrize("workers", [None, 2])
def test_a_long_run_arrives_in_pieces_and_is_proven(
    source: str, tmp_path: Path, workers: int | None
) -> None:
    out = tmp_path / "out"
    report = trackbridge.migrate(source, f"archive:{out}", workers=workers)
    assert (report.verified, report.copied, report.failures) == (True, 3, [])
    assert report.points == POINTS + KEYS * (5 + 6)
    assert len(files(out)) > 10
    check_whole(source, out)
    assert trackbridge.migrate(source, f"archive:{out}").skipped == 3


def test_the_archive_is_the_same_whatever_the_number_of_workers(
    source: str, tmp_path: Path
) -> None:
    for name, workers in (("one", None), ("two", 2)):
        trackbridge.migrate(source, f"archive:{tmp_path / name}", workers=workers)
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")


def test_from_an_archive_a_long_run_goes_in_pieces_too(source: str, tmp_path: Path) -> None:
    trackbridge.migrate(source, f"archive:{tmp_path / 'one'}")
    trackbridge.migrate(f"archive:{tmp_path / 'one'}", f"archive:{tmp_path / 'two'}", workers=2)
    assert len(files(tmp_path / "two")) > 1
    check_whole(source, tmp_path / "two")
    back = trackbridge.migrate(
        f"archive:{tmp_path / 'two'}", f"mlflow:sqlite:///{tmp_path}/back.db"
    )
    assert back.verified


def test_a_run_that_grew_replaces_its_files(source: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    trackbridge.migrate(source, f"archive:{out}")
    before = set(files(out))
    alter(
        source,
        "INSERT INTO metrics SELECT key, value, timestamp + 1, run_uuid, 9999, is_nan FROM metrics"
        f" WHERE step = {STEPS - 1} AND key = 'm1'",
    )
    report = trackbridge.migrate(source, f"archive:{out}")
    assert (report.updated, report.skipped, report.failures) == (1, 2, [])
    assert trackbridge.verify(source, f"archive:{out}").holds
    rows = sum(pq.read_metadata(path).num_rows for path in files(out))
    assert rows == POINTS + KEYS * (5 + 6) + 1
    assert before & set(files(out))  # pieces that have not changed are the same files


@pytest.mark.parametrize("workers", [None, 2])
def test_a_run_whose_pieces_lack_points_is_moved_whole(
    source: str, tmp_path: Path, workers: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = SqlReader.split
    monkeypatch.setattr(SqlReader, "split", lambda *given: split(*given)[:-1])
    out = tmp_path / "out"
    report = trackbridge.migrate(source, f"archive:{out}", workers=workers)
    assert (report.verified, report.copied) == (True, 3)
    check_whole(source, out)


def test_values_that_are_no_numbers_count_as_the_listing_counts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (parts, reader):
        monkeypatch.setattr(module, "GROUP_ROWS", 600)
    lines = (
        f"r1,{step},{step / 7},{step / 9},{f'note {step}' * (step in (5, 7))}"
        for step in range(900)
    )
    (tmp_path / "points.csv").write_text("\n".join(["run,step,loss,acc,note", *lines]))
    one, two = (f"archive:{tmp_path / name}" for name in ("one", "two"))
    trackbridge.migrate(f"csv:{tmp_path / 'points.csv'}", one)
    assert long_run(one).points == 1802
    assert trackbridge.migrate(one, two).verified
    assert trackbridge.verify(one, two).holds
    assert len(files(tmp_path / "two")) > 1
    assert sum(pq.read_metadata(path).num_rows for path in files(tmp_path / "two")) == 1800


def test_points_that_are_no_numbers_are_named(source: str, tmp_path: Path) -> None:
    alter(source, "UPDATE metrics SET value = 'x' WHERE key = 'm2' AND step = 7")
    report = trackbridge.migrate(source, f"archive:{tmp_path / 'out'}")
    assert report.verified
    assert any("metrics.value" in line for line in report.damage)
    assert trackbridge.verify(source, f"archive:{tmp_path / 'out'}").holds


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE metrics SET value = value + 1 WHERE step BETWEEN 100 AND 300",
        "UPDATE metrics SET step = step + 1000 WHERE step > 10",
        f"DELETE FROM metrics WHERE key = 'm0' AND step = {STEPS - 1}; INSERT INTO metrics SELECT"
        " key, value, timestamp, run_uuid, 9999, is_nan FROM metrics"
        f" WHERE key = 'm4' AND step = {STEPS - 1}",
    ],
)
@pytest.mark.parametrize("when", [0, 5])
def test_a_run_that_changes_between_its_pieces_arrives_as_it_was_at_one_moment(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, when: int
) -> None:
    write, given = splitting.Write.carry_out, itertools.count()

    def amid(self: Any, *stores: Any) -> Any:
        if next(given) == when:
            alter(source, change)
        return write(self, *stores)

    monkeypatch.setattr(splitting.Write, "carry_out", amid)
    assert trackbridge.migrate(source, f"archive:{tmp_path / 'out'}").verified
    check_whole(source, tmp_path / "out")


def test_a_piece_that_does_not_read_back_fails_the_run_and_is_mended_by_another_call(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, finish = tmp_path / "out", splitting.Finish.carry_out

    def and_harm(self: Any, *stores: Any) -> Any:
        moved = finish(self, *stores)
        victim = next(path for path in files(out) if len(path.stem) == 64)
        victim.write_bytes(victim.read_bytes()[::-1])
        return moved

    with monkeypatch.context() as patched:
        patched.setattr(splitting.Finish, "carry_out", and_harm)
        report = trackbridge.migrate(source, f"archive:{out}")
    (failure,) = report.failures
    assert "damaged" in failure.error and not report.verified
    again = trackbridge.migrate(source, f"archive:{out}")
    assert again.verified
    check_whole(source, out)


def test_a_step_that_fails_leaves_no_run_that_is_half_there(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Any, *stores: Any) -> Any:
        raise trackbridge.errors.IntegrityError("a piece is not readable")

    with monkeypatch.context() as patched:
        patched.setattr(splitting.Write, "carry_out", fails)
        report = trackbridge.migrate(source, f"archive:{tmp_path / 'out'}")
    (failure,) = report.failures
    assert failure.run.endswith(long_run(source).ref.run_id) and "not readable" in failure.error
    assert report.copied == 2
    assert len(list(open_reader(f"archive:{tmp_path / 'out'}").list_runs(Query()))) == 2


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_worker_that_is_killed_amid_a_piece_harms_nothing(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[int] = []
    put = splitting.Split.put

    def and_kill(self: Any, number: int, result: object) -> bool:
        if not killed:
            children = psutil.Process().children(recursive=True)
            workers = [child for child in children if "tracker" not in " ".join(child.cmdline())]
            killed.append(workers[0].pid)
            os.kill(workers[0].pid, signal.SIGKILL)
            time.sleep(0.2)
        return put(self, number, result)

    monkeypatch.setattr(splitting.Split, "put", and_kill)
    report = trackbridge.migrate(source, f"archive:{tmp_path / 'out'}", workers=2)
    assert killed and report.verified
    check_whole(source, tmp_path / "out")


def alter(source: str, statement: str) -> None:
    with sqlite3.connect(source.rpartition(":///")[2]) as database:
        database.executescript(statement)
    database.close()
