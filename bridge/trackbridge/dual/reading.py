"""Reads the values of a call, one by one: what cannot be read costs the others nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from trackbridge.dual import place, values
from trackbridge.dual.values import Item, Keeper

Lose = Callable[[str, Exception], None]
"""Told which call was lost, and why."""


class Points(NamedTuple):
    """Keys and their numbers, and points that are none."""

    keys: tuple[str, ...]
    numbers: tuple[float, ...]
    items: tuple[Item, ...]

    def joined(self, other: Points) -> Points:
        return Points(
            self.keys + other.keys, self.numbers + other.numbers, self.items + other.items
        )


def taken(data: Mapping[Any, Any], lose: Lose) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values of a call by their names; apart, copies of those that lie on an accelerator.

    Of several with one name, as `a.b` and `b` in `a`, a row can have the first alone.
    """
    here: dict[str, Any] = {}
    away: dict[str, Any] = {}
    for key, value in values.leaves(data):
        try:
            if key in here or key in away:
                raise ValueError("another value of this call has that name")
            if values.is_late(value):
                away[key] = value.detach().clone()
            else:
                here[key] = value
        except Exception as error:
            lose(f"log of {key!r}", error)
    return here, away


def read(found: Mapping[str, Any], row: int, keeper: Keeper, lose: Lose) -> Points:
    """Values as they are now; files that they have beside them are named after key and row."""
    numbers: dict[str, float] = {}
    items: list[Item] = []
    for key, value in found.items():
        try:
            number = values.number(value)
            if number is None:
                name = f"{place.safe(key)}_{row}_{os.urandom(4).hex()}"  # keys may look alike
                items.append(values.item(key, value, name, keeper))
            else:
                numbers[key] = number
        except Exception as error:
            lose(f"log of {key!r}", error)
    return Points(tuple(numbers), tuple(numbers.values()), tuple(items))
