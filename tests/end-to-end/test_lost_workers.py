"""Processes that die, and two calls of one command at a time: nothing is lost or doubled."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import clusters
import many_runs
import psutil
import pytest
from click.testing import CliRunner
from deadly import deadly

import trackbridge
from trackbridge import engine, plan
from trackbridge.adapter import Query
from trackbridge.cli import main
from trackbridge.registry import open_reader
from trackbridge.testing.base import snapshot

RUNS = 60

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return many_runs.store(tmp_path_factory.mktemp("source"), RUNS)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "CHUNK_RUNS", 7)


def is_whole(source: Path, target: str) -> None:
    found = trackbridge.verify(str(source), target)
    assert found.differences == []
    assert (found.total, found.equal) == (RUNS, RUNS)
    listed = list(open_reader(target).list_runs(Query()))
    assert len(listed) == len({info.key for info in listed}) == RUNS


def workers_of(pid: int) -> list[psutil.Process]:
    """The processes that work for one."""
    return [
        child
        for child in psutil.Process(pid).children()
        if "resource_tracker" not in " ".join(child.cmdline())
    ]


def test_a_process_that_is_killed_loses_nothing(source: Path, tmp_path: Path) -> None:
    target, killed = f"archive:{tmp_path}/out", tmp_path / "killed"
    ends = deadly(f"{40:032x}", once=killed)
    report = trackbridge.migrate(str(source), target, workers=2, through=ends)
    assert killed.exists()
    assert (report.failures, report.copied, report.verified) == ([], RUNS, True)
    is_whole(source, target)
    trackbridge.migrate(str(source), f"archive:{tmp_path}/alone")
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "alone")


def test_a_chunk_that_ends_every_process_fails_alone(source: Path, tmp_path: Path) -> None:
    target, run = f"archive:{tmp_path}/out", f"{20:032x}"
    report = trackbridge.migrate(str(source), target, workers=2, through=deadly(run))
    assert len(report.failures) == 7
    assert f"many/{run}" in {failure.run for failure in report.failures}
    assert all("its worker was lost, 3 times" in failure.error for failure in report.failures)
    assert report.copied == RUNS - 7
    assert trackbridge.migrate(str(source), target).verified
    is_whole(source, target)


def test_a_caller_that_is_killed_leaves_receipts_of_all_that_its_workers_have_committed(
    source: Path, tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, commits = tmp_path / "out", tmp_path / "out/data/chunks"
    process = clusters.command("export", str(source), str(target), "--workers", "2")
    while process.poll() is None and len(list(commits.glob("*.json"))) < 3:
        time.sleep(0.005)
    workers = workers_of(process.pid)
    process.kill()
    process.communicate()
    psutil.wait_procs(workers, 30)  # they do what they have begun, and hear then that it is over
    assert not any(worker.is_running() for worker in workers)
    done = [path for path in commits.glob("*.json") if json.loads(path.read_text())["runs"]]
    assert len(done) == len(list(state.rglob("*.json")))
    monkeypatch.setattr(engine, "compare_apart", None)  # nothing has to be looked at again
    report = trackbridge.migrate(str(source), f"archive:{target}")
    assert report.verified and report.skipped > 0
    is_whole(source, f"archive:{target}")


@pytest.mark.parametrize("place", ["local", "s3"])
def test_two_calls_at_a_time_leave_what_one_leaves(
    place: str, source: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    target, key = str(tmp_path / "out"), str(tmp_path / "key")
    if place == "s3":
        request.getfixturevalue("bucket")
        target = "s3://records/archive"
    both = [
        clusters.command("export", str(source), target, "--workers", number)
        for number in ("2", "1")
    ]
    for process in both:
        out, err = process.communicate()
        assert process.returncode == 0, err
        assert "0 failed" in out
    is_whole(source, f"archive:{target}")
    run = CliRunner().invoke
    if place == "local":
        trackbridge.migrate(str(source), f"archive:{tmp_path}/alone")
        assert snapshot(tmp_path / "out") == snapshot(tmp_path / "alone")
    assert run(main, ["audit", "keygen", key, "--no-passphrase"]).exit_code == 0
    assert run(main, ["audit", "seal", target, "--key", key]).exit_code == 0
    checked = run(main, ["audit", "check", target, "--public-key", f"{key}.pub"])
    assert checked.exit_code == 0, checked.output
    again = run(main, ["export", str(source), target])
    assert f"{RUNS} already there" in again.stdout


def test_ctrl_c_of_the_caller_alone_ends_its_workers(source: Path, tmp_path: Path) -> None:
    commits = tmp_path / "out/data/chunks"
    process = clusters.command("export", str(source), str(tmp_path / "out"), "--workers", "2")
    while process.poll() is None and len(list(commits.glob("*.json"))) < 2:
        time.sleep(0.005)
    workers = workers_of(process.pid)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out) == (130, "")
    assert err == "stopped; the same command goes on where this one ended\n"
    assert not psutil.wait_procs(workers, 10)[1]
