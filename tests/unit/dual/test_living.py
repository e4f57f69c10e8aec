"""Who logs to a run is known while it lives, and when it was written to last once it does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from unit.dual.looking import read

from trackbridge.dual import living, place, spawn
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
