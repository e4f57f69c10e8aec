"""Runs of any kind go to a database server and come back whole, many in one database."""

from __future__ import annotations

from pathlib import Path

import any_runs
import pytest
from servers import MYSQL, POSTGRES, Databases

from trackbridge.testing.roundtrip import RoundTripContract
from trackbridge_adapters.mlflow import ADAPTER

EXAMPLES = 100


class Trip(RoundTripContract):
    """The part of the contract that is used here."""

    adapter = ADAPTER


@pytest.mark.parametrize("databases", [POSTGRES, MYSQL], ids=["postgres", "mysql"])
def test_any_runs_come_back_whole(databases: Databases, tmp_path: Path) -> None:
    Trip().check_whole(databases.new(tmp_path / "mlruns"), any_runs.made(EXAMPLES))
