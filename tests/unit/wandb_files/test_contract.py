"""Run folders keep the contract of adapters."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from unit.wandb_files import sdk

from trackbridge.adapter import RunRef
from trackbridge.testing import AdapterContract, PlainRun
from trackbridge_adapters.wandb import ADAPTER


class TestRunFolders(AdapterContract):
    adapter = ADAPTER

    def location(self, folder: Path) -> str:
        return str(folder / "wandb")

    def seed(self, location: str, runs: Sequence[PlainRun]) -> Sequence[PlainRun]:
        output = sdk.call("seed", Path(location).parent, pickle.dumps(list(runs)))
        seeded: list[PlainRun] = pickle.loads(output.partition(b"RESULT")[2])
        return seeded

    def peek(self, location: str, run: RunRef) -> PlainRun:
        [path] = Path(location).glob(f"*run-*-{run.run_id}*/run-{run.run_id}.wandb")
        shown: PlainRun = pickle.loads(sdk.call("peek", path).partition(b"RESULT")[2])
        return replace(shown, project=run.project, run_id=run.run_id)
