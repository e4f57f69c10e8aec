"""Killed anywhere, the same command finishes the job: nothing doubled, nothing left behind."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import many_runs
import pytest
from clusters import SOURCES, command

import trackbridge
from trackbridge.adapter import Query
from trackbridge.registry import open_reader

TARGETS = {
    "archive": "archive:{}/archive",
    "wandb-files": "wandb-files:{}/wandb",
    "mlflow": "mlflow:sqlite:///{}/mlflow.db",
    "mlflow-files": "mlflow:{}/mlruns",
    "tensorboard": "tensorboard:{}/logs",
}
RUNS = 30
BEGUN = """
import io, os, pathlib, sys
from trackbridge.adapter import FileRef, Query
from trackbridge.registry import open_reader, open_writer
source, target = sys.argv[1:]
reader, writer = open_reader(source), open_writer(target)
infos = list(reader.list_runs(Query()))
sink = writer.open([info.key for info in infos]).__enter__()
for info in infos:
    content = pathlib.Path(source, "1", info.key.run_id, "artifacts", "model.bin").read_bytes()
    for owner in ("", "collection:v0"):
        sink.put_file(FileRef(writer.target(info.key), owner, "x"), io.BytesIO(content))
os._exit(0)
"""
"""A writer that ends in the middle of a chunk."""
SLOW_START = 0.4
"""Seconds in which the interpreter does nothing that a kill could harm."""
NIGHTLY = 51

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return many_runs.store(tmp_path_factory.mktemp("source"), RUNS)


@pytest.fixture
def place(
    tmp_path: Path, empty_database: Callable[[Path, Path], None]
) -> Callable[[str, str], str]:
    """Makes the folder of a target and gives its address; databases are there, but empty."""

    def make(kind: str, name: str = "target") -> str:
        folder = tmp_path / name
        folder.mkdir()
        if kind == "mlflow":
            empty_database(folder / "mlflow.db", folder / "mlruns")
        return TARGETS[kind].format(folder)

    return make


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate()
    return process.returncode, out, err


def migrate(source: Path, target: str) -> dict[str, Any]:
    """The command that ends well, whatever was before it."""
    code, out, err = finish(command("migrate", str(source), target, "--json"))
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def killed_after(seconds: float, source: Path, target: str) -> bool:
    """Whether the command was killed before it ended."""
    process = command("migrate", str(source), target)
    time.sleep(seconds)  # the moment of the kill is what this is about
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    finish(process)
    return process.returncode == -signal.SIGKILL


def names(folder: Path) -> set[str]:
    """The files of a target; when and how often a part was written does not matter."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    found = {re.sub(r"(tfevents\.)\d+\.trackbridge[\d.]+$", r"\1", name) for name in found}
    return {re.sub(r"-\d+(\.parquet|\.json)$", r"\1", name) for name in found}


def is_whole(source: Path, target: str) -> None:
    found = trackbridge.verify(str(source), target)
    assert found.differences == []
    assert (found.total, found.equal) == (RUNS, RUNS)
    listed = list(open_reader(target).list_runs(Query()))
    assert len(listed) == len({info.key for info in listed}) == RUNS


def _survives(
    kind: str, source: Path, place: Callable[[str, str], str], moments: list[float], tmp_path: Path
) -> None:
    clean = place(kind, "clean")
    begun = time.monotonic()
    migrate(source, clean)
    length = time.monotonic() - begun
    expected = names(tmp_path / "clean")
    for number, share in enumerate(moments):
        target = place(kind, f"target{number}")
        folder = tmp_path / f"target{number}"
        killed_after(SLOW_START + share * max(0.0, length - SLOW_START), source, target)
        report = migrate(source, target)
        assert report["verified"] is True
        assert report["runs"]["failed"] == 0
        is_whole(source, target)
        assert names(folder) == expected, f"killed at {share:.3f} of {length:.2f} s"
        assert migrate(source, target)["runs"]["skipped"] == RUNS


@pytest.mark.parametrize("kind", TARGETS)
def test_a_killed_migration_is_finished_by_the_same_command(
    kind: str, source: Path, place: Callable[[str, str], str], tmp_path: Path
) -> None:
    _survives(kind, source, place, [random.Random().random()], tmp_path)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", TARGETS)
def test_fifty_killed_migrations_are_finished_by_the_same_command(
    kind: str, source: Path, place: Callable[[str, str], str], tmp_path: Path
) -> None:
    chance = random.Random()
    moments = [chance.random() for _ in range(NIGHTLY // len(TARGETS))]
    _survives(kind, source, place, moments, tmp_path)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", TARGETS)
def test_a_migration_that_is_killed_again_and_again_comes_to_its_end(
    kind: str, source: Path, place: Callable[[str, str], str], tmp_path: Path
) -> None:
    target, chance = place(kind, "target"), random.Random()
    kills = sum(killed_after(chance.uniform(SLOW_START, 3), source, target) for _ in range(9))
    assert kills
    migrate(source, target)
    is_whole(source, target)


@pytest.mark.parametrize("kind", ["archive", "wandb-files"])
def test_what_a_killed_writer_left_of_a_run_is_gone_once_the_run_is_there(
    kind: str, source: Path, place: Callable[[str, str], str], tmp_path: Path
) -> None:
    clean, target = place(kind, "clean"), place(kind, "target")
    trackbridge.migrate(str(source), clean)
    subprocess.run(
        [sys.executable, "-c", BEGUN, str(source), target],
        env={**os.environ, "PYTHONPATH": SOURCES},
        check=True,
    )
    assert names(tmp_path / "target"), "nothing is left that could be swept"
    trackbridge.migrate(str(source), target)
    assert names(tmp_path / "target") == names(tmp_path / "clean")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_ends_with_one_line_and_loses_nothing(
    source: Path, place: Callable[[str, str], str], tmp_path: Path, workers: str
) -> None:
    target, commits = place("archive", "target"), tmp_path / "target/archive/data/chunks"
    process = command("migrate", str(source), target, "--workers", workers)
    while process.poll() is None and len(list(commits.glob("*.json"))) < 2:
        time.sleep(0.01)  # a worker that has just begun to start would say so by itself
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    code, out, err = finish(process)
    assert (code, out) == (130, "")
    assert err == "stopped; the same command goes on where this one ended\n"
    assert migrate(source, target)["verified"] is True
    is_whole(source, target)


@contextmanager
def small_disk(folder: Path, size: str, *options: str) -> Iterator[Path]:
    """A file system of its own, where that is permitted."""
    folder.mkdir()
    where = ",".join([f"size={size}", *options])
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", where, "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no file system may be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("kind", TARGETS)
def test_a_full_disk_is_one_line_and_room_is_all_that_is_needed(
    kind: str,
    source: Path,
    tmp_path: Path,
    empty_database: Callable[[Path, Path], None],
) -> None:
    with small_disk(tmp_path / "disk", "1m" if kind == "mlflow" else "64k") as disk:
        if kind == "mlflow":
            subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
            empty_database(disk / "mlflow.db", disk / "mlruns")
            used = sum(path.stat().st_blocks * 512 for path in disk.rglob("*"))
            subprocess.run(["mount", "-o", f"remount,size={used + 65536}", str(disk)], check=True)
        target = TARGETS[kind].format(disk)
        code, _, err = finish(command("migrate", str(source), target))
        assert code in (1, 2)
        assert "Traceback" not in err
        assert re.search(r"(?i)no space|full", err)
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert migrate(source, target)["verified"] is True
        is_whole(source, target)


@pytest.mark.parametrize("kind", TARGETS)
def test_a_target_that_cannot_be_written_is_one_line(
    kind: str,
    source: Path,
    tmp_path: Path,
    empty_database: Callable[[Path, Path], None],
) -> None:
    with small_disk(tmp_path / "disk", "16m") as disk:
        if kind == "mlflow":
            empty_database(disk / "mlflow.db", disk / "mlruns")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        target = TARGETS[kind].format(disk)
        code, _, err = finish(command("migrate", str(source), target))
        assert code in (1, 2)
        assert "Traceback" not in err
        assert all(re.match("Error: |failed: ", line) for line in err.splitlines()), err
        assert re.search(r"(?i)read-?only|not writable", err)
