"""Tables keep the contract of adapters; pandas is their own client."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unit.tables import frames

from trackbridge.adapter import RunRef
from trackbridge.testing import AdapterContract, PlainRun
from trackbridge_adapters.tables import CSV, JSONL


class TestCsv(AdapterContract):
    adapter = CSV
    writable = False

    def location(self, folder: Path) -> str:
        return str(folder / "points.csv")

    def seed(self, location: str, runs: Sequence[PlainRun]) -> Sequence[PlainRun]:
        frames.wide(runs).to_csv(location, index=False)
        return [frames.seeded(run) for run in runs]

    def peek(self, location: str, run: RunRef) -> PlainRun:
        return frames.plain(frames.read_csv(location), run)


class TestJsonLines(AdapterContract):
    adapter = JSONL
    writable = False

    def location(self, folder: Path) -> str:
        return str(folder / "points.jsonl")

    def seed(self, location: str, runs: Sequence[PlainRun]) -> Sequence[PlainRun]:
        frames.write_jsonl(frames.wide(runs), location)
        return [frames.seeded(run) for run in runs]

    def peek(self, location: str, run: RunRef) -> PlainRun:
        return frames.plain(frames.read_jsonl(location), run)
