"""A real cluster moves a store: nothing is lost or doubled, though workers are."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import clusters
import many_runs
import pytest

import trackbridge
from trackbridge import plan
from trackbridge.adapter import Query
from trackbridge.registry import open_reader
from trackbridge.testing.base import snapshot

RUNS = 200

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return many_runs.store(tmp_path_factory.mktemp("source"), RUNS)


@pytest.fixture
def cluster(tmp_path: Path, _own_home: None) -> Iterator[clusters.Cluster]:
    (tmp_path / "cluster").mkdir()
    with clusters.dask(tmp_path / "cluster") as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "CHUNK_RUNS", 7)


def is_whole(source: Path, target: str) -> None:
    found = trackbridge.verify(str(source), target)
    assert found.differences == []
    assert (found.total, found.equal) == (RUNS, RUNS)
    listed = list(open_reader(target).list_runs(Query()))
    assert len(listed) == len({info.key for info in listed}) == RUNS


def kill_once(worker: subprocess.Popen[bytes], commits: Path, count: int) -> threading.Thread:
    """End a worker as soon as so many chunks are committed."""

    def watch() -> None:
        while len(list(commits.glob("*.json"))) < count:
            time.sleep(0.005)
        worker.send_signal(signal.SIGKILL)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_a_cluster_whose_worker_is_killed_moves_everything_once(
    source: Path, cluster: clusters.Cluster, tmp_path: Path, state: Path
) -> None:
    target = f"archive:{tmp_path}/out"
    killing = kill_once(cluster.workers[0], tmp_path / "out/data/chunks", 8)
    report = trackbridge.migrate(str(source), target, engine="dask", engine_address=cluster.address)
    killing.join(0)
    assert cluster.workers[0].poll() == -signal.SIGKILL
    assert report.failures == []
    assert (report.copied, report.verified) == (RUNS, True)
    is_whole(source, target)
    alone = f"archive:{tmp_path}/alone"
    trackbridge.migrate(str(source), alone)
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "alone")
    again = trackbridge.migrate(str(source), target, engine="dask", engine_address=cluster.address)
    assert (again.skipped, again.copied) == (RUNS, 0)
