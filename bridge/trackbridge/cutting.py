"""Cuts the points of a run into parts of about one size, by keys and ranges of steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from trackbridge.adapter import Part

FEW = 1.1
"""Keys share a part that has no more than so many times the points it is to have."""


class Extent(NamedTuple):
    """What is known or guessed of a key's points: how many, and between which steps."""

    points: float
    first: int
    last: int

    def with_more(self, other: Extent) -> Extent:
        """The same with other points of the key."""
        points = self.points + other.points
        return Extent(points, min(self.first, other.first), max(self.last, other.last))


def cut(keys: Mapping[str, Extent], points: int) -> Sequence[Part]:
    """Parts with about so many points each; the same for the same extents, in whatever order.

    Each point of these keys is in one of them, whatever its step: the outer ranges are open.
    """
    return [*_parts(keys, points)]


def _parts(keys: Mapping[str, Extent], points: int) -> Iterator[Part]:
    together: list[str] = []
    held = 0.0
    for key, extent in sorted(keys.items(), key=lambda item: (-item[1].points, item[0])):
        count = min(round(extent.points / points), extent.last - extent.first + 1)
        if count > 1:
            yield from _ranges(key, extent, count)
            continue
        if together and held + extent.points > points * FEW:
            yield Part(frozenset(together))
            together, held = [], 0.0
        together.append(key)
        held += extent.points
    if together:
        yield Part(frozenset(together))


def _ranges(key: str, extent: Extent, count: int) -> Iterator[Part]:
    width = extent.last - extent.first + 1
    edges = [extent.first + width * number // count for number in range(1, count)]
    for first, end in zip([None, *edges], [*edges, None]):
        yield Part(frozenset([key]), first, None if end is None else end - 1)
