"""A store of many small runs with points and files: a `mlruns` folder of old, written by hand."""

from __future__ import annotations

import random
from pathlib import Path


def store(folder: Path, runs: int, points: int = 40) -> Path:
    """Its path; the same for the same numbers."""
    made = folder / "mlruns"
    experiment = made / "1"
    experiment.mkdir(parents=True)
    (experiment / "meta.yaml").write_text(
        "artifact_location: ./mlruns/1\nexperiment_id: '1'\nlifecycle_stage: active\nname: many\n"
    )
    for number in range(runs):
        _run(experiment, f"{number:032x}", points, random.Random(number))
    return made


def _run(experiment: Path, run_id: str, points: int, chance: random.Random) -> None:
    run = experiment / run_id
    for part in ("metrics", "params", "tags", "artifacts"):
        (run / part).mkdir(parents=True)
    (run / "meta.yaml").write_text(
        f"artifact_uri: ./mlruns/1/{run_id}/artifacts\nend_time: 1700000100000\n"
        f"entry_point_name: ''\nexperiment_id: '1'\nlifecycle_stage: active\nname: run-{run_id}\n"
        f"run_id: {run_id}\nrun_uuid: {run_id}\nsource_name: ''\nsource_type: 4\n"
        "source_version: ''\nstart_time: 1700000000000\nstatus: 3\ntags: []\nuser_id: alice\n"
    )
    for key in ("loss", "acc"):
        lines = (
            f"{1700000000000 + 10 * step} {chance.random()} {step}\n" for step in range(points)
        )
        (run / "metrics" / key).write_text("".join(lines))
    (run / "params" / "lr").write_text("0.1")
    (run / "tags" / "team").write_text("blue")
    (run / "artifacts" / "model.bin").write_bytes(chance.randbytes(3_000))
