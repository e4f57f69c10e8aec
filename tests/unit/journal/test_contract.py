"""Journals keep the contract of adapters, as a source."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

from unit.journal import plain

from trackbridge.adapter import RunRef
from trackbridge.dual.starting import start
from trackbridge.testing import AdapterContract, PlainPoint, PlainRun
from trackbridge_adapters.journal import ADAPTER


class TestJournals(AdapterContract):
    adapter = ADAPTER
    writable = False

    def seed(self, location: str, runs: Sequence[PlainRun]) -> Sequence[PlainRun]:
        for run in runs:
            log(Path(location), run)
        return runs

    def peek(self, location: str, run: RunRef) -> PlainRun:
        return plain.read(Path(location), run)


def log(root: Path, run: PlainRun) -> None:
    steps: dict[int, list[PlainPoint]] = defaultdict(list)
    for point in run.points:
        steps[point.step].append(point)
    with start(run.project, run.name, run.params, run_id=run.run_id, folder=root) as logged:
        for step, points in steps.items():
            at = int(points[0].time.timestamp()) * 10**9
            with mock.patch("trackbridge.dual.run.time_ns", lambda at=at: at):
                logged.log({point.key: point.value for point in points}, step)
        for path, content in run.files.items():
            logged.keep(path, content)
