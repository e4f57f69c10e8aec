"""A real Dask cluster moves a store: nothing is lost or doubled, though workers are."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import clusters
import many_runs
import pytest
from click.testing import CliRunner
from deadly import deadly

import trackbridge
from trackbridge import plan
from trackbridge.adapter import Query
from trackbridge.cli import main
from trackbridge.registry import open_reader
from trackbridge.testing.base import snapshot

RUNS = 200
SECRET = "hush-hush-of-the-store"
TESTS = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return many_runs.store(tmp_path_factory.mktemp("source"), RUNS)


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[clusters.Cluster]:
    """A scheduler without workers."""
    (tmp_path / "cluster").mkdir()
    with clusters.dask(tmp_path / "cluster", 0) as cluster:
        yield cluster


@pytest.fixture
def cluster(empty: clusters.Cluster) -> clusters.Cluster:
    """One with two of them."""
    for _ in range(2):
        empty.start_worker(PYTHONPATH=f"{clusters.SOURCES}:{TESTS}")
    return empty


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "CHUNK_RUNS", 7)


def is_whole(source: Path, target: str, runs: int = RUNS) -> None:
    found = trackbridge.verify(str(source), target)
    assert found.differences == []
    assert (found.total, found.equal) == (runs, runs)
    listed = list(open_reader(target).list_runs(Query()))
    assert len(listed) == len({info.key for info in listed}) == runs


def kill_when(condition: Callable[[], bool], worker: subprocess.Popen[bytes]) -> None:
    """End a worker as soon as something is so."""

    def watch() -> None:
        while not condition():
            time.sleep(0.005)
        worker.send_signal(signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def test_a_cluster_whose_worker_is_killed_moves_everything_once(
    source: Path, cluster: clusters.Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target, commits = f"archive:{tmp_path}/out", tmp_path / "out/data/chunks"
    kill_when(lambda: len(list(commits.glob("*.json"))) >= 8, cluster.workers[0])
    given = {"engine": "dask", "engine_address": cluster.address}
    report = trackbridge.migrate(str(source), target, **given)
    assert cluster.workers[0].wait() == -signal.SIGKILL
    assert (report.failures, report.copied, report.verified) == ([], RUNS, True)
    assert [r.message for r in caplog.records] == [
        f"{source} and {tmp_path}/out: each worker has to see the same there"
    ]
    is_whole(source, target)
    trackbridge.migrate(str(source), f"archive:{tmp_path}/alone")
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "alone")
    again = trackbridge.migrate(str(source), target, **given)
    assert (again.skipped, again.copied) == (RUNS, 0)


def test_an_object_store_holds_all_that_a_cluster_works_with(
    bucket: Any, cluster: clusters.Cluster, tmp_path: Path
) -> None:
    runs = 60
    source = many_runs.store(tmp_path / "few", runs)
    target = "archive:s3://records/archive"
    options = {"key": "testing", "secret": SECRET}
    given: dict[str, Any] = {"engine": "dask", "engine_address": cluster.address}

    def written(place: str) -> list[Any]:
        return list(bucket.objects.filter(Prefix=place))

    kill_when(lambda: len(written("archive/data/chunks/")) >= 4, cluster.workers[1])
    report = trackbridge.migrate(str(source), target, target_options=options, **given)
    assert cluster.workers[1].wait() == -signal.SIGKILL
    assert (report.failures, report.copied, report.verified) == ([], runs, True)
    is_whole(source, target, runs)
    again = trackbridge.migrate(str(source), target, target_options=options, **given)
    assert (again.skipped, again.copied) == (runs, 0)
    receipts = written("state/")
    assert receipts and all(each.key.endswith(".json") for each in receipts)
    assert not any(SECRET.encode() in each.get()["Body"].read() for each in receipts)
    assert SECRET not in cluster.said()


def test_what_fails_in_a_worker_shows_nothing_of_its_work_in_the_clusters_logs(
    source: Path, cluster: clusters.Cluster, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="a mistake of ours"):
        trackbridge.migrate(
            str(source),
            f"archive:{tmp_path}/out",
            through=deadly(f"{150:032x}", "a mistake of ours"),
            engine="dask",
            engine_address=cluster.address,
        )
    assert "a mistake of ours" in cluster.said()
    assert str(source) not in cluster.said()


@pytest.mark.parametrize(
    ("has", "reason"),
    [
        ("nothing", "has a worker without Trackbridge; install trackbridge=="),
        ("0.0.1", "has Trackbridge 0.0.1; install "),
    ],
)
def test_a_worker_that_does_not_fit_is_one_line(
    source: Path, empty: clusters.Cluster, tmp_path: Path, has: str, reason: str
) -> None:
    empty.start_worker("--preload", str(TESTS / "preloaded.py"), WORKER_HAS=has)
    done = clusters.command(
        "export",
        str(source),
        str(tmp_path / "out"),
        *("--engine", "dask", "--engine-address", empty.address),
    )
    out, err = done.communicate()
    assert (done.returncode, out, err.count("\n")) == (2, "", 2), err
    warned, line = err.splitlines()
    assert warned.endswith("each worker has to see the same there")
    assert line.startswith("Error: ") and reason in line


def test_a_cluster_without_workers_is_one_line(
    source: Path, empty: clusters.Cluster, tmp_path: Path
) -> None:
    done = CliRunner().invoke(
        main,
        [
            *("export", str(source), str(tmp_path / "out")),
            *("--engine", "dask", "--engine-address", empty.address),
        ],
    )
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"Error: Dask at {empty.address} has no worker; start one: dask worker")


def test_a_scheduler_that_ends_in_the_middle_is_one_line_and_the_rest_is_done_later(
    source: Path, cluster: clusters.Cluster, tmp_path: Path
) -> None:
    target, commits = f"archive:{tmp_path}/out", tmp_path / "out/data/chunks"
    kill_when(lambda: len(list(commits.glob("*.json"))) >= 4, cluster.scheduler)
    with pytest.raises(trackbridge.BridgeError, match=f"Dask at {cluster.address}"):
        trackbridge.migrate(str(source), target, engine="dask", engine_address=cluster.address)
    assert trackbridge.migrate(str(source), target).verified
    is_whole(source, target)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_ends_a_cluster_that_was_started_for_the_job(source: Path, tmp_path: Path) -> None:
    commits = tmp_path / "out/data/chunks"
    process = clusters.command(
        "export",
        str(source),
        str(tmp_path / "out"),
        *("--engine", "dask", "--workers", "2"),
    )
    while process.poll() is None and len(list(commits.glob("*.json"))) < 3:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()  # ends when all that have its pipes have ended
    assert (process.returncode, out) == (130, "")
    assert err == "stopped; the same command goes on where this one ended\n"
