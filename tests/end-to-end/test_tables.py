"""Tables to trackers and back, by the command line."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

import trackbridge
from trackbridge.cli import main

FIXTURES = Path(__file__).parents[2] / "fixtures"


def call(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(main, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_long_table_comes_into_mlflow_value_for_value(tmp_path: Path) -> None:
    with (tmp_path / "points.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["trial", "iter", "metric", "value", "when"])
        for trial in ("a", "b"):
            for step in range(500):
                writer.writerow([trial, step, "loss", 1 / (step + 3), 1_700_000_000 + step])
            writer.writerow([trial, 500, "loss", "nan", 1_700_000_500])
            writer.writerow([trial, 500, "loss", "-inf", 1_700_000_500])
            writer.writerow([trial, 0, "note", "começou", 1_700_000_000])
    source, target = f"csv:{tmp_path}/points.csv", f"mlflow:sqlite:///{tmp_path}/mlflow.db"
    columns = ("--columns", "time=when")
    planned = call("plan", source, target, *columns)
    meanings = {said["what"]: said["meaning"] for said in planned["assumed"]}
    assert meanings["column trial"] == "id of the run"
    assert meanings["column when"] == "time"
    assert call("migrate", source, target, *columns)["verified"]
    compared = call("verify", source, target, *columns)
    assert compared["runs"] == {"total": 2, "equal": 2, "different": 0, "missing": 0}

    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (experiment,) = (e for e in client.search_experiments() if e.name == "points")
    for run in client.search_runs([experiment.experiment_id]):
        history = client.get_metric_history(run.info.run_id, "loss")
        values = {point.step: point.value for point in history if point.step < 500}
        assert values == {step: 1 / (step + 3) for step in range(500)}
        assert any(math.isnan(point.value) for point in history)


@pytest.mark.parametrize("scheme", ["csv", "jsonl"])
@pytest.mark.parametrize("store", ["mlflow-2.9/mlflow.db", "wandb-0.31/wandb"])
def test_a_tracker_goes_to_tables_and_comes_back_equal(
    tmp_path: Path, scheme: str, store: str
) -> None:
    shutil.copytree(FIXTURES / Path(store).parts[0], tmp_path / "source", symlinks=True)
    source = str(tmp_path / "source" / Path(store).name)
    tables, back = f"{scheme}:{tmp_path}/tables", f"archive:{tmp_path}/back"
    assert call("export", source, tables)["verified"]
    assert call("verify", source, tables)["runs"]["different"] == 0
    assert call("export", source, tables)["runs"]["copied"] == 0
    assert call("migrate", tables, back)["verified"]
    compared = call("verify", source, back)
    assert compared["runs"]["equal"] == compared["runs"]["total"] > 0
    if scheme == "csv":
        metrics = pd.read_csv(tmp_path / "tables" / "metrics.csv")
        assert len(metrics[~metrics["system"]]) == len(trackbridge.open(source).metrics())


def test_an_export_that_is_killed_is_finished_by_the_same_call(tmp_path: Path) -> None:
    steps = 400_000
    with (tmp_path / "big.csv").open("w") as file:
        file.write("run,step,loss\n")
        for run in range(20):
            file.writelines(f"run{run},{step},{step / 7}\n" for step in range(steps // 20))
    source, out = f"csv:{tmp_path}/big.csv", tmp_path / "out"
    command = [sys.executable, "-m", "trackbridge", "export", source, f"csv:{out}"]
    process = subprocess.Popen(
        command, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        table = out / "metrics.csv"
        if table.exists() and table.stat().st_size > 1_000_000:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.001)
    process.wait()
    assert call("export", source, f"csv:{out}")["verified"]
    assert call("verify", source, f"csv:{out}")["runs"]["equal"] == 20
    assert len(pd.read_csv(out / "metrics.csv")) == steps
    assert not (out / ".trackbridge-writing").exists()
