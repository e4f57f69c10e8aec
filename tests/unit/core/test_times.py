"""Times are counted, and found again where a calendar has them."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from trackbridge.times import micros, moment


@pytest.mark.parametrize("year", [1, 1969, 1970, 2026, 9999])
def test_a_time_comes_back_from_its_count(year: int) -> None:
    time = datetime(year, 12, 31, 23, 59, 59, 999_999, timezone.utc)
    assert moment(micros(time)) == time


@pytest.mark.parametrize("count", [2**63 - 1, -(2**63), 253_402_300_800_000_000])
def test_a_count_beyond_the_years_that_python_has_is_no_time(count: int) -> None:
    assert moment(count) is None


def test_no_time_has_no_count() -> None:
    assert micros(None) is moment(None) is None
