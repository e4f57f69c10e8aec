"""Curves of metrics as they were sent and as they have arrived, few enough points to be drawn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trackbridge.adapter import Batch
from trackbridge.choose import EVERY_RUN
from trackbridge.columns import numpy_of
from trackbridge.comparison import partners_of
from trackbridge.dual.parity import Parity
from trackbridge.dual.replay import working_in
from trackbridge.errors import BridgeError
from trackbridge.extremes import STEP, VALUE, Series
from trackbridge.registry import open_reader
from trackbridge.retry import persist
from trackbridge.sidecar import Overlay

MOST = 12
"""Metrics of a run that are drawn."""
BUCKETS = 240
"""A curve has the least and the greatest value of so many parts at most."""
LARGEST = 1e300
"""What is greater stands for an infinity."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """Points in the order of x."""

    points: list[tuple[float, float]]
    count: int
    """Values that it stands for."""
    odd: int
    """How many of them are NaN or infinite, and not drawn."""

    @property
    def is_reduced(self) -> bool:
        return len(self.points) < self.count - self.odd


@dataclass(frozen=True)
class Curve:
    """One metric; `arrived` is None where that cannot be read."""

    key: str
    sent: Line
    arrived: Line | None


def curves(each: Parity) -> list[Curve]:
    """Curves of a dozen metrics of a run, those that are not as they were sent first."""
    keys = _keys(each)
    if not keys:
        return []
    with working_in(each.ran_in):
        source = open_reader(f"journal:{each.folder}")
        sent = _lines(source.read_runs([each.info.ref], ["metrics"]), keys)
        arrived = _arrived_lines(each, keys)
    nothing = None if arrived is None else Line([], 0, 0)
    there = arrived or {}
    return [Curve(key, sent[key], there.get(key, nothing)) for key in keys if key in sent]


def _arrived_lines(each: Parity, keys: Sequence[str]) -> dict[str, Line] | None:
    """None where they cannot be read; of what is wrong with a store, the comparison has told."""
    if each.arrived is None:
        return None
    try:
        return persist(lambda: _lines(_arrived(each), keys))
    except BridgeError:
        return None


def _keys(each: Parity) -> list[str]:
    odd = [series.key for series in each.series if series.table == "metrics"]
    rest = sorted(key for table, key in each.counts if table == "metrics")
    return list(dict.fromkeys([*odd, *rest]))[:MOST]


def _arrived(each: Parity) -> Iterator[Batch]:
    """Points of the run in its back end: as they were logged, once it was written whole."""
    reader = open_reader(each.address)
    partners = partners_of(reader.list_runs(EVERY_RUN))
    there = partners.get(each.info.key) or partners.get(each.info.ref)
    return Overlay(reader, [there]).read(["metrics"]) if there else iter(())


def _lines(batches: Iterable[Batch], keys: Sequence[str]) -> dict[str, Line]:
    wanted = pa.array(keys, pa.string())
    parts: dict[str, list[tuple[Floats, Floats]]] = {}
    for batch in batches:
        if batch.table != "metrics" or not batch.data.num_rows:
            continue
        data = batch.data
        numbers = np.asarray(
            pc.index_in(data.column("key").cast(pa.string()), wanted).fill_null(-1)
        )
        steps, values = _steps(data), numpy_of(data.column("value"), np.float64)
        for number in np.unique(numbers[numbers >= 0]).tolist():
            mask = numbers == number
            parts.setdefault(keys[number], []).append((steps[mask], values[mask]))
    return {key: _line(*map(np.concatenate, zip(*some))) for key, some in parts.items()}


def _steps(data: pa.RecordBatch) -> Floats:
    column = data.column("step")
    if column.null_count:
        return np.arange(data.num_rows, dtype=np.float64)
    return numpy_of(column, np.float64)


def _line(steps: Any, values: Any) -> Line:
    count = len(values)
    drawn = np.abs(values) < LARGEST  # so NaN is left out too
    steps, values = steps[drawn], values[drawn]
    order = np.argsort(steps, kind="stable")
    steps, values = steps[order], values[order]
    series = Series(BUCKETS // 2)
    series.add(np.vstack([steps, steps, values]))
    kept = series.kept()
    points = list(zip(kept[STEP].tolist(), kept[VALUE].tolist()))
    return Line(points, count, count - int(drawn.sum()))
