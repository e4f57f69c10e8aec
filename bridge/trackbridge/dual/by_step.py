"""Makes rows of values whose calls have none: a step is a row once a value of a later one came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trackbridge.adapter import Batch, Row
from trackbridge.columns import batches

Ints = npt.NDArray[np.int64]


class Closed(NamedTuple):
    """What of some values a store of rows can be given."""

    ready: list[Batch]
    """Values of steps that are over, and samples of the system."""
    waiting: list[Batch]
    """Values of the highest step, to which more may come: one of each key."""
    steps: Ints
    """The steps that are over, ascending: each is a row."""
    left: int
    """Values that cannot be added: of a step that was passed, or where their key has another."""


def close(streams: Sequence[Batch], passed: int) -> Closed:
    """Values in the order in which they came; steps up to `passed`, which is -1 or more, are over.

    Of values of one key and step the latest is taken, by its time. They have no step: they are of
    step 0, as they will be in the end.
    """
    if not streams:
        return Closed([], [], np.zeros(0, np.int64), 0)
    steps, times = _numbers(streams, "step"), _numbers(streams, "time")
    system = np.concatenate([_system(batch) for batch in streams])
    taken = np.zeros(len(steps), np.bool_)
    some = np.flatnonzero(~system & (steps > passed))
    keys = _keys(streams)[some]
    order = np.lexsort((np.arange(len(some)), times[some], keys, steps[some]))
    some, keys = some[order], keys[order]
    last = np.ones(len(some), np.bool_)
    last[:-1] = (np.diff(steps[some]) != 0) | (np.diff(keys) != 0)
    taken[some[last]] = True
    top = steps[taken].max(initial=passed)
    over = taken & (steps < top)
    return Closed(
        _chosen(streams, over | system),
        _chosen(streams, taken & (steps == top)),
        np.unique(steps[over]),
        int((~system & ~taken).sum()),
    )


def told(waiting: Sequence[Batch]) -> dict[str, list[Row]]:
    """Values that wait as JSON can have them; `heard` gives them back."""
    found: dict[str, list[Row]] = {}
    for batch in waiting:
        data = batch.data
        at = data.schema.get_field_index("time")
        plain = data.set_column(at, "time", data.column(at).cast(pa.int64()))
        found.setdefault(batch.table, []).extend(plain.to_pylist())
    return found


def heard(waiting: Mapping[str, list[Row]]) -> list[Batch]:
    return [batch for table, rows in waiting.items() for batch in batches(table, rows)]


def _numbers(streams: Sequence[Batch], column: str) -> Ints:
    parts = (batch.data.column(column).cast(pa.int64()).fill_null(0) for batch in streams)
    return np.concatenate([np.asarray(part) for part in parts])


def _system(batch: Batch) -> npt.NDArray[np.bool_]:
    if batch.table != "metrics":
        return np.zeros(batch.data.num_rows, np.bool_)
    return np.array(batch.data.column("system"))


def _keys(streams: Sequence[Batch]) -> Ints:
    """A number for each key; keys of metrics and of series are the same ones."""
    texts = pa.chunked_array([batch.data.column("key").cast(pa.string()) for batch in streams])
    return np.asarray(texts.combine_chunks().dictionary_encode().indices, np.int64)


def _chosen(streams: Sequence[Batch], mask: npt.NDArray[np.bool_]) -> list[Batch]:
    found, start = list[Batch](), 0
    for batch in streams:
        part = batch.data.filter(pa.array(mask[start : start + batch.data.num_rows]))
        start += batch.data.num_rows
        if part.num_rows:
            found.append(Batch(batch.table, part))
    return found
