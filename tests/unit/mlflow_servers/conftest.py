"""Databases of the tests are dropped at the end."""

import pytest
from servers import dropped  # noqa: F401


@pytest.fixture(autouse=True)
def _clean(dropped: None) -> None:  # noqa: F811
    """Every test of this folder may make databases."""
