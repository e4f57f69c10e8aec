"""Counts what is not the same in two stores, series by series and table by table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from trackbridge.adapter import Row

MOST_PLACES = 200
"""Places of a series that are kept, for plots."""


class Unlike(NamedTuple):
    """A row of the source and one of the target that should be the same; one of them may lack."""

    before: Row | None
    after: Row | None
    repeats: bool = False
    """One lacks, but an equal one is there."""


@dataclass
class Unequal:
    """A series of `metrics` or `series`, or a table, of a run that is not the same in both."""

    run: str
    """Project and id in the source, as in `project/id`."""
    table: str
    key: str | None
    differing: int = 0
    """Rows that are there with another value, or at another time."""
    missing: int = 0
    extra: int = 0
    """Rows of the target that the source has not, or not as often."""
    hollow: bool = False
    """How many is not known, only that it is not as it should be natively."""
    places: list[Unlike] = field(default_factory=list)

    def add(self, unlike: Unlike) -> None:
        if unlike.before is None:
            self.extra += 1
        elif unlike.after is None:
            self.missing += 1
        else:
            self.differing += 1
        if len(self.places) < MOST_PLACES:
            self.places.append(unlike)
