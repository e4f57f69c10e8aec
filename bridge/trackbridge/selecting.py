"""Some of the points of runs, out of any reader: found at the source where it can find them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from trackbridge.adapter import Batch, Part, Reader, RunRef, Selecting
from trackbridge.columns import within


def read_points(reader: Reader, refs: Sequence[RunRef], part: Part) -> Iterator[Batch]:
    """The rows of `metrics` of these runs that are in the part, as the store has them."""
    if isinstance(reader, Selecting):
        yield from reader.read_points(refs, part)
    else:
        yield from selected(reader.read_runs(refs, ["metrics"]), part)


def selected(batches: Iterable[Batch], part: Part) -> Iterator[Batch]:
    """The rows of batches of `metrics` that are in the part."""
    for batch in batches:
        data = within(batch.data, part)
        if data.num_rows:
            yield Batch(batch.table, data)
