"""Two migrations into one file store, and MLflow in it at the same time: nobody loses anything."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

import trackbridge
from trackbridge.adapter import Query
from trackbridge.registry import open_reader

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "fixtures"
IN_SMALL_CHUNKS = """
from trackbridge import cli, plan
plan.CHUNK_RUNS = 2
cli.main(prog_name="trackbridge")
"""


def migrating(source: Path, target: str, state: Path) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(ROOT / "bridge"), str(ROOT / "adapters")])
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            IN_SMALL_CHUNKS,
            "migrate",
            "--include-deleted",
            str(source),
            target,
        ],
        env={**os.environ, "PYTHONPATH": paths, "TRACKBRIDGE_STATE": str(state)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize(
    "names",
    [
        ("mlflow-3.17/mlflow.db", "wandb-0.22/wandb"),
        ("mlflow-3.17/mlflow.db", "mlflow-3.17/mlflow.db"),
        ("mlflow-1.30/mlruns", "wandb-0.31/wandb"),
    ],
    ids=["two sources", "the same source", "two kinds"],
)
def test_two_migrations_and_a_live_mlflow_share_a_file_store(
    names: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    sources = []
    for number, name in enumerate(names):
        path = FIXTURES / name
        copy = tmp_path / f"source{number}"
        shutil.copytree(path.parent, copy, symlinks=True)
        sources.append(copy / path.name)
    target = f"mlflow:{tmp_path}/mlruns"
    client = MlflowClient((tmp_path / "mlruns").as_uri())
    run = client.create_run(client.create_experiment("live")).info.run_id
    both = [migrating(s, target, tmp_path / f"state{n}") for n, s in enumerate(sources)]
    step = 0
    while any(process.poll() is None for process in both):
        client.log_batch(run, metrics=[Metric("loss", step, step, step)])
        step += 1
    for process in both:
        out, _ = process.communicate()
        assert process.returncode == 0, out
    assert [p.step for p in client.get_metric_history(run, "loss")] == list(range(step))
    for source in sources:
        found = trackbridge.verify(str(source), target)
        assert found.differences == []
        assert found.holds
    keys = [info.key for info in open_reader(target).list_runs(Query())]
    assert len(keys) == len(set(keys))
    experiments = [experiment.name for experiment in client.search_experiments()]
    assert len(experiments) == len(set(experiments))
    assert not list((tmp_path / "mlruns").glob("*/datasets/.trackbridge"))
