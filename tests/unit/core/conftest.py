"""Adapters that only these tests have."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import trackbridge_adapters
from trackbridge import registry


@pytest.fixture(scope="session", autouse=True)
def _shelf() -> Iterator[None]:
    """`shelf:` addresses mean stores in memory that show runs in a way of their own."""
    patch = pytest.MonkeyPatch()
    patch.setitem(trackbridge_adapters.BUILTIN, "shelf", "unit.core.stores:SHELF")
    registry.targets.cache_clear()
    yield
    patch.undo()
    registry.targets.cache_clear()
