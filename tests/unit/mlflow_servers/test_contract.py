"""MLflow on PostgreSQL and MySQL keeps the contract; the other side is MLflow's own client."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from mlflow.tracking import MlflowClient
from servers import MYSQL, POSTGRES, Databases
from unit.mlflow_store.test_contract import peeked, seeded

from trackbridge.adapter import RunRef
from trackbridge.testing import AdapterContract, PlainRun
from trackbridge_adapters.mlflow import ADAPTER


class _Server:
    adapter = ADAPTER
    databases: ClassVar[Databases]
    made: ClassVar[dict[Path, str]]
    """The database of each folder."""
    known_gaps = {  # noqa: RUF012
        "test_a_place_without_a_store_cannot_be_opened_for_reading": (
            "every location of these tests has MLflow's tables already"
        )
    }

    def location(self, folder: Path) -> str:
        if folder not in self.made:  # one folder means one store, as with paths
            self.made[folder] = self.databases.new(folder / "mlruns")
        return self.made[folder]

    def seed(self, location: str, runs: Sequence[PlainRun]) -> Sequence[PlainRun]:
        return seeded(MlflowClient(location), runs)

    def peek(self, location: str, run: RunRef) -> PlainRun:
        return peeked(MlflowClient(location), run)


class TestPostgres(_Server, AdapterContract):
    databases = POSTGRES
    made: ClassVar[dict[Path, str]] = {}


class TestMysql(_Server, AdapterContract):
    databases = MYSQL
    made: ClassVar[dict[Path, str]] = {}
