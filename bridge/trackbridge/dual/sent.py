"""What the journal of a run says was sent: values by series, its life, what the calls have cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trackbridge.adapter import Batch, RunRef
from trackbridge.columns import codes
from trackbridge.dual import scanning
from trackbridge.dual.parts import files
from trackbridge.optional import Growing
from trackbridge.schema import POINTS

Counts = Counter[tuple[str, str]]
"""Values by table and key."""


@dataclass(frozen=True)
class Cost:
    """What log calls have cost the training, in microseconds; of several processes the highest."""

    calls: int
    """Calls that were timed."""
    p50: float | None = None
    p99: float | None = None
    max: float | None = None
    lost: int = 0
    """Calls that could not be kept."""


@dataclass(frozen=True)
class Life:
    """From when to when a run went, in seconds since 1970, and what its calls have cost."""

    began: float
    ended: float | None
    """None where no process of it has said that it ended."""
    last: float
    """When its journal was last written to."""
    cost: Cost | None
    """None where no process has said so."""


def counted(batches: Iterable[Batch]) -> Counts:
    """How many values there are of each series."""
    found: Counts = Counter()
    for batch in batches:
        if batch.table not in POINTS or not batch.data.num_rows:
            continue
        column = batch.data.column("key")
        if batch.table == "metrics":
            numbers = np.bincount(codes(column), minlength=len(column.dictionary)).tolist()
            names = column.dictionary.to_pylist()
            found.update({("metrics", name): n for name, n in zip(names, numbers) if n})
        else:
            found.update(("series", name) for name in column.to_pylist())
    return found


def after(reader: Growing, ref: RunRef, position: str) -> Iterator[Batch]:
    """What came to a run after a position."""
    while True:
        found, reached = reader.read_added(ref, position)
        if reached == position:
            return
        yield from found
        position = reached


def life(folder: Path) -> Life:
    """What the records of a run's journal say, whoever of its processes has written them."""
    paths = files(folder)
    records = [record for path in paths for record in _records(path)]
    begun = [record["at"] for record in records if record["t"] == "begin"]
    last = max(path.stat().st_mtime for path in paths)
    ended = None
    for record in records:
        if record["t"] in ("begin", "end"):
            ended = record.get("ended", record["at"]) / 1e6 if record["t"] == "end" else None
    return Life(min(begun) / 1e6 if begun else last, ended, last, _cost(records))


def _records(path: Path) -> Iterator[dict[str, Any]]:
    data = path.read_bytes()
    for window in scanning.scan(data):
        yield from (record for record in window.records if record["t"] in ("begin", "end", "lost"))


def _cost(records: list[dict[str, Any]]) -> Cost | None:
    told = [record["cost"] for record in records if record.get("cost")]
    ends = sum(record.get("lost", 0) for record in records if record["t"] == "end")
    lost = max(ends, sum(record["calls"] for record in records if record["t"] == "lost"))
    if not told and not lost:
        return None
    most = {
        name: max((cost[name] for cost in told if name in cost), default=None)
        for name in ("p50", "p99", "max")
    }
    return Cost(sum(cost["calls"] for cost in told), **most, lost=lost)
