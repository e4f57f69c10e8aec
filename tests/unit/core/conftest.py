"""Adapters that only these tests have."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from unit.core import faults

import trackbridge_adapters
from trackbridge import registry


@pytest.fixture(scope="session", autouse=True)
def _adapters() -> Iterator[None]:
    """`shelf:` stores show runs in a way of their own, `team:` and `one:` ones call projects
    otherwise, `faulty:` ones fail on demand."""
    patch = pytest.MonkeyPatch()
    patch.setitem(trackbridge_adapters.BUILTIN, "shelf", "unit.core.stores:SHELF")
    patch.setitem(trackbridge_adapters.BUILTIN, "team", "unit.core.stores:TEAM")
    patch.setitem(trackbridge_adapters.BUILTIN, "one", "unit.core.stores:ONE")
    patch.setitem(trackbridge_adapters.BUILTIN, "faulty", "unit.core.faults:ADAPTER")
    registry.targets.cache_clear()
    yield
    patch.undo()
    registry.targets.cache_clear()


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> faults.Faults:
    """What shall go wrong in `faulty:` stores."""
    monkeypatch.setattr(faults, "FAULTS", faults.Faults())
    return faults.FAULTS


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nobody sleeps between attempts; how long they would have."""
    slept: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", slept.append)
    return slept
