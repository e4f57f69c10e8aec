"""A training, its forwarder and the parity report, each a process of its own."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

TRAINING = """
import sys, trackbridge
with trackbridge.start("vision", "resnet", {"long": "x" * 9000}, to=sys.argv[1:]) as run:
    for step in range(500):
        odd = {3: float("inf"), 4: float("nan")}.get(step, 1.0)
        run.log({"loss": 1 / (step + 1), "odd": odd, "text": f"step {step}"})
"""
LONGEST = 120.0


def report(folder: Path) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "trackbridge", "parity", "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_training_is_reported_equal_until_somebody_alters_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRACKBRIDGE_DIR", raising=False)
    stores = ["mlflow:sqlite:///mlflow.db", "archive:./out"]
    subprocess.run([sys.executable, "-c", TRAINING, *stores], cwd=tmp_path, check=True)
    end = time.monotonic() + LONGEST
    code, told = report(tmp_path)
    while code and time.monotonic() < end:
        time.sleep(1.0)
        code, told = report(tmp_path)
    assert (code, told["complete"]) == (0, True), told
    assert [run["arrived"] for run in told["runs"]] == [1500, 1500]
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        connection.execute("DELETE FROM metrics WHERE key = 'loss' AND step = 7")
    connection.close()
    code, told = report(tmp_path)
    assert code == 1
    found = {run["store"]: (run["verdict"], run["missing"]) for run in told["runs"]}
    assert found == dict(zip(stores, [("different", 1), ("equal", 0)]))
