"""Where the points of a run are cut."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as some

from trackbridge.adapter import Part
from trackbridge.cutting import Extent, cut

EXTENTS = some.dictionaries(
    some.text(max_size=3),
    some.builds(
        lambda points, first, more: Extent(points, first, first + more),
        some.integers(0, 10_000) | some.floats(0, 10_000),
        some.integers(-(2**62), 2**61),
        some.integers(0, 2**61),
    ),
    max_size=12,
)


def has(part: Part, key: str, step: int | None) -> bool:
    if part.keys is not None and key not in part.keys:
        return False
    if step is None:
        return part.first is None
    return (part.first is None or step >= part.first) and (part.last is None or step <= part.last)


@given(EXTENTS, some.integers(1, 5_000), some.integers(-(2**63), 2**63 - 1) | some.none())
def test_every_point_is_in_one_part_whatever_its_step(
    keys: dict[str, Extent], points: int, step: int | None
) -> None:
    parts = cut(keys, points)
    for key, extent in keys.items():
        for probe in (step, extent.first, extent.last, (extent.first + extent.last) // 2):
            assert sum(has(part, key, probe) for part in parts) == 1


@given(EXTENTS, some.integers(1, 5_000))
def test_parts_do_not_depend_on_the_order_of_keys(keys: dict[str, Extent], points: int) -> None:
    assert cut(dict(reversed(keys.items())), points) == cut(keys, points)


def test_parts_have_about_one_size() -> None:
    keys = {"long": Extent(10_000, 0, 9_999), **{f"k{n}": Extent(300, 0, 99) for n in range(10)}}
    sizes: Counter[Part] = Counter()
    for part in cut(keys, 1_000):
        for key in part.keys or ():
            width = keys[key].last + 1
            first, last = part.first or 0, width - 1 if part.last is None else part.last
            sizes[part] += round(keys[key].points * (last - first + 1) / width)
    assert sum(sizes.values()) == 13_000
    assert set(sizes.values()) == {1_000, 900, 300}


def test_a_key_of_one_step_is_not_cut() -> None:
    assert cut({"k": Extent(10_000, 0, 0)}, 100) == [Part(frozenset("k"))]
