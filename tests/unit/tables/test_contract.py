"""Tables keep the contract of adapters; pandas is their own client."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unit.tables import frames

from trackbridge.adapter import RunRef
from trackbridge.testing import AdapterContract, PlainRun
from trackbridge_adapters.tables import CSV, JSONL


class _Tables(AdapterContract):
    """Seeded is a table of points, as others write it; written are the tables of the run model."""

    def seed(self, location: str, runs: Sequence[PlainRun]) -> Sequence[PlainRun]:
        Path(location).mkdir()
        frames.write(frames.wide(runs), Path(location, f"points.{self.adapter.name}"))
        return [frames.seeded(run) for run in runs]

    def peek(self, location: str, run: RunRef) -> PlainRun:
        table = Path(location, f"points.{self.adapter.name}")
        if table.exists():
            return frames.of_points(frames.read(table), run)
        return frames.of_tables(Path(location), self.adapter.name, run)


class TestCsv(_Tables):
    adapter = CSV


class TestJsonLines(_Tables):
    adapter = JSONL


del _Tables
