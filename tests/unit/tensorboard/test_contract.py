"""Log folders of TensorBoard keep the contract of adapters, as a source."""

from __future__ import annotations

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
    writable = False

    def seed(self, location: str, runs: Sequence[PlainRun]) -> Sequence[PlainRun]:
        return [_seeded(Path(location), run) for run in runs]

    def peek(self, location: str, run: RunRef) -> PlainRun:
        folder = Path(location) / run.run_id
        points, params = logs.points_of(folder), logs.params_of(folder)
        return PlainRun(run.project, run.run_id, run.run_id, params, points)


def _seeded(root: Path, run: PlainRun) -> PlainRun:
    """A run in a folder of its project's; points are in single precision."""
    name = f"{run.project}/{run.run_id}"
    logs.log(root / name, run.points, run.params)
    points = [point._replace(value=_single(point.value)) for point in run.points]
    return replace(run, project=root.name, run_id=name, name=name, points=points, files={})


def _single(value: float) -> float:
    return float(np.float32(value))
