"""Definitions of metrics, as the client packs them into a config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trackbridge_adapters.wandb.records import CLASSES


def definitions(internal: Mapping[str, Any]) -> Iterator[Any]:
    """Records of what was dicts by field number (wandb 0.31, `_wandb.m`)."""
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
