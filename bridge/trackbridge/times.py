"""Times as stores count them: microseconds since 1970, in UTC."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def micros(time: datetime | None) -> int | None:
    """A time in microseconds since 1970."""
    return None if time is None else (time - EPOCH) // timedelta(microseconds=1)


def moment(micros: int | None) -> datetime | None:
    """The inverse; None where it lies beyond the years that Python has (1 to 9999)."""
    if micros is None:
        return None
    try:
        return EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        return None
