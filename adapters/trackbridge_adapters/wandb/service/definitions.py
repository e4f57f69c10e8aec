"""Definitions of metrics, as the client packs them into a config (wandb 0.31, `_wandb.m`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from trackbridge_adapters.wandb.records import CLASSES

DEFINED = 3
"""Number of the option that tells a metric from an axis."""


def definitions(internal: Mapping[str, Any]) -> Iterator[Any]:
    """Records of what was dicts by field number."""
    packed = list(internal.get("m") or ())
    for entry in packed:
        record = CLASSES["MetricRecord"]()
        record.name, record.glob_name = entry.get("1", ""), entry.get("2", "")
        record.step_metric = entry.get("4", "")
        index = entry.get("5")
        if index and 0 < index <= len(packed):
            record.step_metric = packed[index - 1].get("1", "")
        for name, field in (("6", record.options), ("7", record.summary)):
            numbers = {f.number: f.name for f in field.DESCRIPTOR.fields}
            for number in entry.get(name) or ():
                if number in numbers:
                    setattr(field, numbers[number], True)
        record.goal = entry.get("8", 0)
        if record.glob_name or record.options.defined:  # others are axes, added for their sake
            yield record


def packed(records: Iterable[Any]) -> list[dict[str, Any]]:
    """The inverse of `definitions`: an axis is told by the number of its own entry, from 1 on.

    Patterns come last, and are not told from axes, which they cannot be.
    """
    found: list[dict[str, Any]] = []
    places: dict[str, int] = {}

    def place_of(name: str) -> int:
        if name not in places:
            found.append({"1": name, "6": [], "7": []})
            places[name] = len(found)
        return places[name]

    for record in sorted(records, key=lambda record: bool(record.glob_name)):
        if record.glob_name:
            found.append({"2": record.glob_name, "6": []})
            entry = found[-1]
        else:
            entry = found[place_of(record.name) - 1]
            entry["6"] = [DEFINED]
        entry["6"] += [number for number in _numbers(record.options) if number not in entry["6"]]
        entry["7"] = _numbers(record.summary)
        if record.goal:
            entry["8"] = record.goal
        if record.step_metric:
            entry["5"] = place_of(record.step_metric)
    return found


def _numbers(message: Any) -> list[int]:
    """Numbers of the fields that are set."""
    return [field.number for field, _ in message.ListFields()]
