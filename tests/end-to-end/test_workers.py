"""Several processes do the same job as one, and report the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import trackbridge
from trackbridge import plan
from trackbridge.testing.base import snapshot

TARGETS = {"archive": "archive:{}", "wandb-files": "wandb-files:{}", "mlflow-files": "mlflow:{}"}


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "CHUNK_RUNS", 3)


@pytest.mark.parametrize("kind", TARGETS)
def test_two_workers_move_what_one_moves(
    kind: str, copied: Callable[[str], Path], tmp_path: Path
) -> None:
    source = str(copied("mlflow-3.17/mlflow.db"))
    one, two = (TARGETS[kind].format(tmp_path / name) for name in ("one", "two"))
    alone = trackbridge.migrate(source, one)
    together = trackbridge.migrate(source, two, workers=2)
    assert together.failures == []
    assert together.verified
    for field in ("total", "copied", "updated", "skipped", "points", "files", "size"):
        assert getattr(together, field) == getattr(alone, field), field
    counted = [{loss.kind: loss.count for loss in r.losses} for r in (alone, together)]
    assert counted[0] == counted[1]
    assert trackbridge.verify(source, two).holds
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    if kind == "archive":
        assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")
    assert trackbridge.migrate(source, two, workers=2).skipped == alone.total


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "package"), [("dask", "distributed"), ("ray", "ray"), ("spark", "pyspark")]
)
def test_a_cluster_writes_the_same_bytes(
    engine: str, package: str, copied: Callable[[str], Path], tmp_path: Path
) -> None:
    pytest.importorskip(package, reason=f"{package} is not installed: it is large")
    source = str(copied("mlflow-3.17/mlflow.db"))
    one, two = (f"archive:{tmp_path}/{name}" for name in ("one", "two"))
    alone = trackbridge.migrate(source, one)
    together = trackbridge.migrate(source, two, engine=engine, workers=2)
    assert together.failures == []
    assert (together.copied, together.verified) == (alone.total, True)
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")
    again = trackbridge.migrate(source, two, engine=engine, workers=2)
    assert again.skipped == alone.total


def test_a_run_that_fails_in_a_worker_stands_in_the_report(
    copied: Callable[[str], Path], tmp_path: Path
) -> None:
    source = str(copied("mlflow-3.17/mlflow.db"))
    target = f"archive:{tmp_path}/out"
    trackbridge.migrate(source, target)
    moved = tmp_path / "other"
    shutil.copytree(tmp_path / "out", moved)
    for path in (moved / "data" / "metrics").iterdir():
        path.write_bytes(path.read_bytes()[:-20])
    damaged = trackbridge.migrate(f"archive:{moved}", f"archive:{tmp_path}/third", workers=2)
    assert damaged.failures
    assert damaged.copied + len(damaged.failures) == damaged.total
