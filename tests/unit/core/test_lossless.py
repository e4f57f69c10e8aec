"""Whatever a store cannot hold comes back on the way home: a -> b -> c equals a."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from datetime import timedelta

import pytest
from hypothesis import given
from unit.core.stores import NOTHING_CHANGES, Sample, native, peek, seed, stores
from unit.core.strategies import START, capabilities, some_samples

import trackbridge
from trackbridge.adapter import Capabilities, Names, Row
from trackbridge.fit_text import apart


@pytest.mark.parametrize("kind", ["memory", "shelf"])
@given(runs=some_samples(), poor=capabilities())
def test_runs_come_home_through_any_store_as_they_were(
    kind: str, runs: list[Sample], poor: Capabilities
) -> None:
    with stores(NOTHING_CHANGES, poor, NOTHING_CHANGES) as (home, away, back):
        seed(home, runs)
        there = trackbridge.migrate(f"memory:{home}", f"{kind}:{away}")
        assert (there.failures, there.verified, there.copied) == ([], True, len(runs))
        _holds(f"memory:{home}", f"{kind}:{away}")

        returned = trackbridge.migrate(f"{kind}:{away}", f"memory:{back}")
        assert (returned.failures, returned.verified) == ([], True)
        _holds(f"{kind}:{away}", f"memory:{back}")
        _holds(f"memory:{home}", f"memory:{back}")
        assert peek(back) == peek(home)


@given(runs=some_samples(), first=capabilities(), second=capabilities())
def test_two_poor_stores_in_a_row_lose_nothing(
    runs: list[Sample], first: Capabilities, second: Capabilities
) -> None:
    with stores(NOTHING_CHANGES, first, second, NOTHING_CHANGES) as (home, one, two, back):
        seed(home, runs)
        for source, target in (
            (f"memory:{home}", f"shelf:{one}"),
            (f"shelf:{one}", f"memory:{two}"),
            (f"memory:{two}", f"memory:{back}"),
        ):
            assert trackbridge.migrate(source, target).failures == []
        _holds(f"shelf:{one}", f"memory:{two}")
        assert peek(back) == peek(home)


@given(runs=some_samples(), claims=capabilities())
def test_a_store_is_given_only_what_it_claims_to_hold(
    runs: list[Sample], claims: Capabilities
) -> None:
    with stores(NOTHING_CHANGES, claims) as (home, away):
        seed(home, runs)
        assert trackbridge.migrate(f"memory:{home}", f"memory:{away}").verified
        for table, names in claims.names.items():
            for row in native(away, table):
                if row["key"] is not None:
                    assert names.length is None or len(row["key"]) <= names.length
                    assert not names.alphabet or re.fullmatch(f"[{names.alphabet}]+", row["key"])
            if names.folded and (table != "metrics" or claims.rows):
                _are_apart(native(away, table), names)
        for table, lengths in claims.lengths.items():
            for row in native(away, table):
                assert len(row["value"] or "") <= lengths["value"]
        if not claims.nul:
            for table in claims.holds.keys() - {"files", "metrics", "series", "logs"}:
                cells = [cell for row in native(away, table) for cell in row.values()]
                assert not any("\0" in cell for cell in cells if isinstance(cell, str))
        for point in native(away, "metrics"):
            _fits(point, claims)


def _are_apart(rows: list[Row], names: Names) -> None:
    keys: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        keys[row["run_id"]].add(row["key"])
    assert not any(apart(of_run, names) for of_run in keys.values())


def _fits(point: Row, claims: Capabilities) -> None:
    value, time = point["value"], point["time"]
    held = claims.holds["metrics"]
    assert claims.nan or not math.isnan(value)
    assert claims.largest is None or not math.isinf(value)
    for column in ("step", "time"):
        assert claims.gaps or (point[column] is not None) == (column in held)
    if time is not None:
        assert (time - START) // timedelta(microseconds=1) % claims.time_unit_us == 0


def _holds(source: str, target: str) -> None:
    found = trackbridge.verify(source, target)
    assert found.differences == []
    assert found.holds
