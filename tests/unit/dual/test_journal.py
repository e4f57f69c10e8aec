"""What a call returned from is in the journal, whatever threads, children, signals and disks do."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import count
from pathlib import Path

import pytest
from unit.dual.looking import extra, points, read

from trackbridge.dual.journal import Journal
from trackbridge.dual.run import Run
from trackbridge.dual.starting import start

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="has no fork, no such signals")
RUN: Run
"""Of children that were forked while it went on."""


def small(root: Path, rotated: int) -> Run:
    """A run whose journal begins another file soon."""
    header = {"run": ["p", "r"], "host": "here", "by": "", "to": []}
    return Run(Journal(root / "run-1", header, rotated), "p", "r")


def test_eight_threads_log_every_call_once_in_rows_that_rise(tmp_path: Path) -> None:
    with start("p", run_id="r", folder=tmp_path) as run:

        def log(thread: int) -> None:
            for call in range(5000):
                run.log({"loss": thread * 5000.0 + call})

        threads = [threading.Thread(target=log, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = points(read(tmp_path))
    assert sorted(value for _, _, value in found) == [float(n) for n in range(40_000)]
    assert [(row, step) for row, step, _ in found] == [(n, n) for n in range(40_000)]


def test_threads_that_log_while_files_are_turned_lose_nothing(tmp_path: Path) -> None:
    run = small(tmp_path, 3000)

    def log(thread: int) -> None:
        for call in range(1000):
            run.log({f"loss{call % 7}": float(call), "thread": float(thread)})

    threads = [threading.Thread(target=log, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run.finish()
    tables = read(tmp_path)
    found = Counter(value for _, _, value in points(tables, "thread"))
    assert found == dict.fromkeys(range(4), 1000)
    assert "damage" not in extra(tables)


def test_every_file_can_be_read_alone(tmp_path: Path) -> None:
    run = small(tmp_path, 2000)
    for call in range(500):
        run.log({"loss": float(call), f"now and then {call % 5}": 1.0})
    run.finish()
    paths = sorted((tmp_path / "run-1").glob("*.journal"))
    assert len(paths) > 10
    found = []
    for number, path in enumerate(paths):
        alone = tmp_path / f"alone{number}" / "run-1"
        alone.mkdir(parents=True)
        shutil.copy(path, alone)
        found += points(read(alone.parent))
    assert found == [(n, n, float(n)) for n in range(500)]


def test_more_lists_of_keys_than_are_remembered_are_told_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trackbridge.dual.journal.LISTS", 5)
    with start("p", run_id="r", folder=tmp_path) as run:
        for call in range(100):
            run.log({f"key{call % 13}": float(call)})
    tables = read(tmp_path)
    assert sorted(row["value"] for row in tables["metrics"]) == [float(n) for n in range(100)]


@POSIX
def test_a_forked_child_logs_too_and_ends_nothing(tmp_path: Path) -> None:
    run = start("p", run_id="r", folder=tmp_path)
    for call in range(5):
        run.log({"loss": float(call)})
    child = os.fork()
    if not child:
        with run:
            for call in range(5, 10):
                run.log({"loss": float(call)})
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert read(tmp_path)["runs"][0]["status"] == "running"
    for call in range(10, 15):
        run.log({"loss": float(call)})
    run.finish()
    tables = read(tmp_path)
    assert sorted(value for _, _, value in points(tables)) == [float(n) for n in range(15)]
    assert sorted(row for row, _, _ in points(tables) if row is not None) == list(range(15))
    assert tables["runs"][0]["status"] == "finished"


@POSIX
def test_a_forked_child_that_logs_after_the_end_does_not_begin_the_run_again(
    tmp_path: Path,
) -> None:
    run = start("p", run_id="r", folder=tmp_path)
    run.log({"loss": 0.0})
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        os.read(read_end, 1)
        run.log({"loss": 1.0})
        os._exit(0)
    run.finish()
    os.write(write_end, b"x")
    assert os.waitpid(child, 0)[1] == 0
    tables = read(tmp_path)
    assert (len(points(tables)), tables["runs"][0]["status"]) == (2, "finished")
    with start("p", run_id="r", folder=tmp_path, resume=True):
        assert read(tmp_path)["runs"][0]["status"] == "running"


@POSIX
def test_children_that_are_forked_while_threads_log_do_not_hang(tmp_path: Path) -> None:
    run = start("p", run_id="r", folder=tmp_path)
    over = threading.Event()

    def log() -> None:
        while not over.is_set():
            run.log({"thread": 1.0})

    threads = [threading.Thread(target=log) for _ in range(3)]
    for thread in threads:
        thread.start()
    for call in range(20):
        if not (child := os.fork()):
            signal.alarm(20)
            run.log({"child": float(call)})
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    over.set()
    for thread in threads:
        thread.join()
    run.finish()
    found = points(read(tmp_path), "child")
    assert sorted(value for _, _, value in found) == [float(n) for n in range(20)]


def _in_a_child(number: int) -> int:
    RUN.log({"child": float(number)})
    return os.getpid()


@POSIX
def test_workers_of_a_pool_log_too(tmp_path: Path) -> None:
    global RUN
    RUN = start("p", run_id="r", folder=tmp_path)
    RUN.log({"loss": 1.0})
    with ProcessPoolExecutor(3, multiprocessing.get_context("fork")) as pool:
        assert os.getpid() not in set(pool.map(_in_a_child, range(50)))
    RUN.log({"loss": 2.0})
    RUN.finish()
    tables = read(tmp_path)
    assert sorted(value for _, _, value in points(tables, "child")) == [float(n) for n in range(50)]
    assert [value for _, _, value in points(tables)] == [1.0, 2.0]


RESUMED = """
from trackbridge.dual.starting import start
run = start("p", run_id="r", resume=True, folder=root)
run.log({"child": float(n)})
run.finish()
"""


def test_spawned_processes_that_begin_the_same_run_add_to_it(tmp_path: Path) -> None:
    with start("p", run_id="r", folder=tmp_path) as run:
        run.log({"loss": 1.0})
    context = multiprocessing.get_context("spawn")
    children = [
        context.Process(target=exec, args=(RESUMED, {"root": tmp_path, "n": n})) for n in (0, 1)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    tables = read(tmp_path)
    assert sorted(value for _, _, value in points(tables, "child")) == [0.0, 1.0]


@POSIX
def test_programs_that_are_started_inherit_no_file(tmp_path: Path) -> None:
    run = start("p", run_id="r", folder=tmp_path)
    run.log({"loss": 1.0})
    told = subprocess.run(
        [sys.executable, "-c", "import os; print(*map(os.readlink, os.scandir('/proc/self/fd')))"]
        if Path("/proc/self/fd").exists()
        else ["true"],
        capture_output=True,
        text=True,
        close_fds=False,
        check=False,
    )
    run.finish()
    assert ".journal" not in told.stdout


@POSIX
def test_signal_handlers_that_log_lose_nothing_while_files_are_turned(tmp_path: Path) -> None:
    run = small(tmp_path, 1500)
    handled, within = count(), list[int]()

    def handler(number: int, frame: object) -> None:
        if len(within) < 3:  # handlers are interrupted too, on a busy machine without end
            within.append(number)
            call = next(handled)
            run.log({f"handled {call % 11}": 1.0, "handled": float(call)})
            within.pop()

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        for call in range(10_000):
            run.log({"loss": float(call), f"loss{call % 13}": 1.0}, step=call)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    run.finish()
    tables = read(tmp_path)
    assert "damage" not in extra(tables)
    assert sorted(value for _, _, value in points(tables)) == [float(n) for n in range(10_000)]
    calls = next(handled)
    assert calls > 10
    assert sorted(value for _, _, value in points(tables, "handled")) == [*map(float, range(calls))]


@POSIX
def test_calls_that_a_full_disk_takes_are_counted_exactly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A limit on the size of files stands for the disk: it too takes half of a record."""
    run = start("p", run_id="r", folder=tmp_path)
    run.log({"loss": -1.0})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    assert run.folder
    [path] = run.folder.glob("*.journal")
    room = path.stat().st_size + 1000
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
        for call in range(100):
            run.log({"loss": float(call)})
        assert path.stat().st_size == room
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    for call in range(100, 110):
        run.log({"loss": float(call)})
    run.finish()
    tables = read(tmp_path)
    found = [value for _, _, value in points(tables)]
    kept = len(found) - 11
    assert found == [-1.0, *map(float, range(kept)), *map(float, range(100, 110))]
    assert 0 < kept < 100
    lost, gap = extra(tables)["damage"]
    assert lost == f"{100 - kept} calls could not be kept: File too large"
    assert gap.endswith("are no record")
    assert f"{100 - kept} calls could not be kept (File too large)" in capsys.readouterr().err


@POSIX
def test_a_disk_without_room_for_a_file_costs_the_calls_until_there_is(tmp_path: Path) -> None:
    run = start("p", run_id="r", folder=tmp_path)
    run.finish()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    run = small(tmp_path, 10**6)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50, before[1]))
        for call in range(10):
            run.log({"loss": float(call)})
        assert list((tmp_path / "run-1").glob("*.journal")) == []
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    run.log({"loss": 10.0})
    run.finish()
    tables = read(tmp_path / "run-1")
    assert points(tables) == [(10, 10, 10.0)]
    assert extra(tables)["damage"] == ["10 calls could not be kept: File too large"]


def test_a_folder_that_cannot_be_made_costs_nothing_but_the_calls(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    with start("p", run_id="r", folder=tmp_path / "file" / "folder") as run:
        for call in range(10):
            run.log({"loss": float(call)})
        run.config["lr"] = 0.1
        run.save(tmp_path / "file")
    assert "could not be kept (" in capsys.readouterr().err


@POSIX
@pytest.mark.skipif(not hasattr(os, "seteuid") or os.geteuid() != 0, reason="only root may change")
def test_a_folder_that_may_not_be_written_costs_nothing_but_the_calls(tmp_path: Path) -> None:
    run = small(tmp_path, 10**6)
    (tmp_path / "run-1").mkdir(mode=0o555)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o555)
    os.seteuid(65534)
    try:
        run.log({"loss": 1.0})
    finally:
        os.seteuid(0)
    run.log({"loss": 2.0})
    run.finish()
    tables = read(tmp_path)
    assert points(tables) == [(1, 1, 2.0)]
    assert extra(tables)["damage"] == ["1 calls could not be kept: Permission denied"]


@POSIX
def test_a_folder_that_is_deleted_is_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = start("p", run_id="r", folder=tmp_path)
    run.log({"loss": 0.0})
    assert run.folder
    shutil.rmtree(run.folder)
    for call in range(1, 5000):
        run.log({"loss": float(call)})
    run.finish()
    tables = read(tmp_path)
    found = [value for _, _, value in points(tables)]
    assert found == [float(n) for n in range(5000 - len(found), 5000)]
    assert len(found) > 3000
    assert "the journal was deleted" in capsys.readouterr().err
    assert "the journal was deleted" in extra(tables)["damage"][0]


@POSIX
def test_a_folder_that_is_deleted_before_the_end_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = start("p", run_id="r", folder=tmp_path)
    run.log({"loss": 0.0})
    assert run.folder
    shutil.rmtree(run.folder)
    run.finish()
    assert "the journal was deleted" in capsys.readouterr().err


KILLED = """
import mmap, os, struct, sys
from trackbridge.dual.starting import start
root, shared = sys.argv[1:]
told = mmap.mmap(os.open(shared, os.O_RDWR), 8)
run = start("p", run_id="r", folder=root)
call = 0
while True:
    run.log({"loss": float(call), f"key{call % 17}": 1.0})
    if not call % 50:
        run.log({"text": "words"}, step=call)
    call += 1
    told[:] = struct.pack("<q", call)
"""


@POSIX
@pytest.mark.slow
def test_every_call_that_returned_survives_kill_nine(tmp_path: Path) -> None:
    chance = random.Random(7)
    for number in range(30):
        shared = tmp_path / f"shared{number}"
        shared.write_bytes(bytes(8))
        root = tmp_path / f"root{number}"
        child = subprocess.Popen([sys.executable, "-c", KILLED, str(root), str(shared)])
        with shared.open("rb") as file, mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ) as told:
            while not struct.unpack_from("<q", told)[0]:
                time.sleep(0.005)
            time.sleep(chance.random() * 0.1)
            child.kill()
            child.wait()
            [returned] = struct.unpack_from("<q", told)
        tables = read(root)
        found = [value for _, _, value in points(tables)]
        assert len(found) - returned in (0, 1)
        assert found == [*map(float, range(len(found)))]
        assert "damage" not in extra(tables)
