"""Thousands of small runs on a W&B server: what they cost it in requests, and us in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from wandb_server import Server, runs, started
from wandb_server.state import File

pytest.importorskip("graphql")
ROWS = 20
PEAK = 450 * 2**20
"""Bytes of memory that an export may take, be the runs hundreds or thousands."""
EXPORT = """
import pathlib, sys
from trackbridge.cli import main
try:
    main(sys.argv[1:])
finally:
    status = pathlib.Path("/proc/self/status")  # getrusage counts the process that forked us too
    lines = status.read_text().splitlines() if status.exists() else ["VmHWM: 0"]
    print(next(line for line in lines if line.startswith("VmHWM")).split()[1], file=sys.stderr)
"""


def fill(server: Server, count: int) -> None:
    """Runs with history, system metrics, console lines and files, as a small training leaves."""
    for number in range(count):
        given = {"name": f"run{number}", "modelName": "p", "entityName": "team"}
        run, _ = runs.upsert(server.state, server.user, given)
        run.config = {"lr": {"value": number / 7}, "seed": {"value": number}}
        run.summary = {"loss": 1 / (number + 1), "_step": ROWS - 1}
        rows = ({"_step": s, "_timestamp": 1e9 + s, "loss": s / 3} for s in range(ROWS))
        run.history += map(json.dumps, rows)
        run.events += [json.dumps({"_timestamp": 1e9, "system.cpu": 1.0})] * 3
        run.console |= {at: f"2026-01-01T00:00:00 line {at}" for at in range(5)}
        for name in ("requirements.txt", "wandb-metadata.json"):
            content = f"{name} of {number}".encode()
            key = runs.upload_key(run, name)
            server.state.storage.write(key, content)
            run.files[name] = File(name, key, len(content), updated_at=run.created_at)
        run.state = "finished"


@pytest.mark.parametrize("count", [300, pytest.param(5000, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("exported", [True, False])
def test_many_runs_cost_few_requests_and_no_more_memory(
    count: int, exported: bool, tmp_path: Path
) -> None:
    with started(tmp_path / "server") as server:
        fill(server, count)
        if exported:
            for number in range(count):
                server.export(f"team/p/run{number}")
        server.faults.forget()
        call = ("export", f"wandb:{server.address}/team/p", f"archive:{tmp_path}/archive")
        told = subprocess.run(
            [sys.executable, "-c", EXPORT, *call, "--json"],
            env=server.environment() | {"TRACKBRIDGE_STATE": str(tmp_path / "state")},
            check=True,
            capture_output=True,
            text=True,
        )
        report = json.loads(told.stdout)
        assert report["runs"] == {
            "total": count,
            "copied": count,
            **dict.fromkeys(("updated", "skipped", "failed"), 0),
        }
        assert report["points"] == count * (ROWS + 3)
        assert report["files"] == count * 2
        requests, peak = server.faults.graphql(), int(told.stderr.split()[-1]) * 1024
        print(f"{count} runs: {requests} requests, {peak / 2**20:.0f} MiB")
        assert requests <= count / 20
        assert peak < PEAK
