"""Who logs to a run is known while it lives, and when it was written to last once it does not."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from unit.dual.looking import leaves, points, read, status

import trackbridge
from trackbridge.dual import living, parts, place, sent, spawn
from trackbridge.dual.journal import Journal

HEADER = {"run": ["p", "r"], "host": "elsewhere", "by": "", "to": []}


def test_a_crashed_run_ended_when_a_process_wrote_last_whichever_began_first(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run-1"
    for _ in range(2):
        journal = Journal(folder, HEADER)
        journal.record({"t": "set", "at": 1, "row": {"status": "running"}})
        journal.close()
    for path, second in zip(place.files(folder), (2000, 1000), strict=True):
        os.utime(path, (second, second))
    living.mark_crashed(folder)
    [row] = read(tmp_path)["runs"]
    assert (row["status"], row["ended"].timestamp()) == ("crashed", 2000)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="has no fork")
def test_a_child_that_is_forked_during_a_look_at_a_lock_does_not_keep_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(spawn, "lock_path", lambda name: tmp_path / name)
    (tmp_path / "f").touch()
    lock, (over, end) = spawn.try_lock, os.pipe()
    children: list[int] = []

    def try_lock(file: int) -> bool:
        held = lock(file)
        if not children and not (child := os.fork()):
            os.close(end)
            os.read(over, 1)
            os._exit(0)
        elif not children:
            children.append(child)
        return held

    monkeypatch.setattr(spawn, "try_lock", try_lock)
    assert [spawn.is_running("f"), spawn.is_running("f")] == [False, False]
    os.close(end)
    os.waitpid(children[0], 0)


def test_the_folder_of_a_run_that_was_deleted_does_not_come_back(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        place.put(place.standing(tmp_path / "run-1", "archive:./out"), "{}")
    assert not (tmp_path / "run-1").exists()


def test_each_host_has_a_forwarder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hosts may have journals and temporary files in common, as containers do."""
    names = set()
    for host in ("one", "two", "one"):
        monkeypatch.setattr(place, "host", lambda name=host: name)
        names.add(spawn.key(tmp_path, ["archive:./out"], tmp_path))
    assert len(names) == 2


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """By how many hours the clock of whoever logs from now on is wrong."""
    wrong, right = [0], time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: right() + wrong[0] * 3600 * 10**9)
    return wrong


def test_what_a_later_session_says_counts_though_its_clock_is_behind(
    clock: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(spawn, "forwarder", lambda *_: None)
    monkeypatch.setenv(place.DIR, str(tmp_path / "journals"))
    for hours in (0, -5, -2, -9):
        clock[0] = hours
        told, store = {"lr": hours, "here": True}, f"archive:{tmp_path}/{hours}"
        with trackbridge.start("p", config=told, to=store, run_id="r", resume=True) as run:
            run.log({"loss": float(hours)})
            run.summary["best"] = hours
            assert status(read(tmp_path / "journals"))[0] == "running"
            run.finish("failed" if hours else "finished", wait=0)
        tables = read(tmp_path / "journals")
        assert leaves(tables) == told
        assert leaves(tables, "summary") == {"best": hours}
        assert status(tables)[0] == ("failed" if hours else "finished")
        [folder] = place.runs(tmp_path / "journals")
        assert parts.latest_header([folder])["to"] == [store]
        assert sent.life(folder).ended == tables["runs"][0]["ended"].timestamp()
    assert [value for _, _, value in points(tables)] == [0.0, -5.0, -2.0, -9.0]


def test_a_crash_is_marked_by_a_machine_whose_clock_is_behind(
    clock: list[int], tmp_path: Path
) -> None:
    folder = tmp_path / "run-1"
    journal = Journal(folder, HEADER)
    journal.record({"t": "set", "at": time.time_ns() // 1000, "row": {"status": "running"}})
    journal.points(("loss",), (1.0,), 0, 0, 0)
    journal.close()
    clock[0] = -1
    living.mark_crashed(folder)
    assert status(read(tmp_path))[0] == "crashed"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="has no fork")
def test_children_of_a_session_whose_clock_is_behind_are_of_that_session(
    clock: list[int], tmp_path: Path
) -> None:
    with trackbridge.start("p", run_id="r", folder=tmp_path) as run:
        run.log({"loss": 0.0})
    clock[0] = -1
    with trackbridge.start("p", run_id="r", folder=tmp_path, resume=True) as run:
        run.config["from"] = "parent"
        if not (pid := os.fork()):
            run.config["from"] = "child"
            run.log({"loss": 1.0})
            os._exit(0)
        os.waitpid(pid, 0)
        run.log({"loss": 2.0})
    tables = read(tmp_path)
    assert leaves(tables) == {"from": "child"}
    found = [(row, value) for row, _, value in sorted(points(tables))]
    assert found == [(0, 0.0), (1, 1.0), (2, 2.0)]
