"""Log folders of TensorBoard keep the contract of adapters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from unit.tensorboard import logs

from trackbridge.adapter import RunRef
from trackbridge.testing import AdapterContract, PlainRun
from trackbridge_adapters.tensorboard import ADAPTER


class TestLogFolders(AdapterContract):
    adapter = ADAPTER

    def seed(self, location: str, runs: Sequence[PlainRun]) -> Sequence[PlainRun]:
        return [_seeded(Path(location), run) for run in runs]

    def peek(self, location: str, run: RunRef) -> PlainRun:
        folder, name = _place(Path(location), run)
        points, params = logs.points_of(folder), logs.params_of(folder)
        files = folder / "trackbridge" / "files"
        contents = {
            path.relative_to(files).as_posix(): path.read_bytes()
            for path in files.rglob("*")
            if path.is_file()
        }
        return PlainRun(run.project, run.run_id, name, params, points, contents)


def _place(root: Path, run: RunRef) -> tuple[Path, str]:
    """The folder of a run, and the name that TensorBoard's pages show people."""
    for about in root.rglob("trackbridge/run.json"):
        told = json.loads(about.read_text())
        if (told["project"], told["run_id"]) == run:
            folder = about.parents[1]
            return folder, folder.name.rpartition("@")[0]
    return root / run.run_id, run.run_id


def _seeded(root: Path, run: PlainRun) -> PlainRun:
    """A run in a folder of its project's; points are in single precision."""
    name = f"{run.project}/{run.run_id}"
    logs.log(root / name, run.points, run.params)
    points = [point._replace(value=_single(point.value)) for point in run.points]
    return replace(run, project=root.name, run_id=name, name=name, points=points, files={})


def _single(value: float) -> float:
    return float(np.float32(value))
