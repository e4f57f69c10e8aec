"""Has a run name the same run in other stores: where it was reached, and where it was born."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trackbridge.adapter import RunKey, Writer
from trackbridge.dual import place, standing
from trackbridge.optional import Linking, Twin


def found(writer: Writer, key: RunKey) -> Twin:
    """Where a run is in a store that has it."""
    if isinstance(writer, Linking):
        return writer.place(key)
    return Twin(writer.address, *writer.target(key))


def original(folder: Path) -> list[list[Any]]:
    """The run that is mirrored, as far as its key tells where that is: `Twin`s, as in JSON."""
    told = next(iter(place.files(folder)), None)
    parts = place.header(told).get("key") if told else None
    key = RunKey(*parts) if parts else None
    return [[key.kind, key.project, key.run_id, None]] if key else []


def reached(folder: Path, store: str) -> list[list[Any]]:
    """The run in all of its back ends where it was reached, but for one of them; the same."""
    return [at.place for at in standing.every(folder) if at.place and at.store != store]
