"""Databases of the tests are dropped at the end."""

import any_runs
import pytest
from servers import dropped  # noqa: F401

CONTRACT = "tests/unit/mlflow_servers/test_contract.py"


@pytest.fixture(autouse=True)
def _clean(dropped: None) -> None:  # noqa: F811
    """Every test of this folder may make databases."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A database for each example takes minutes: test_round_trips.py has the short form."""
    any_runs.by_night(items, CONTRACT)
