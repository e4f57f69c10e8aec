"""Some of the points of runs, out of any reader: found at the source where it can find them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from trackbridge.adapter import Batch, Reader, RunRef
from trackbridge.columns import within
from trackbridge.optional import Excerpt, Selecting


def read_points(reader: Reader, refs: Sequence[RunRef], excerpt: Excerpt) -> Iterator[Batch]:
    """The rows of `metrics` of these runs that are in the excerpt, as the store has them."""
    if isinstance(reader, Selecting):
        yield from reader.read_points(refs, excerpt)
    else:
        yield from selected(reader.read_runs(refs, ["metrics"]), excerpt)


def selected(batches: Iterable[Batch], excerpt: Excerpt) -> Iterator[Batch]:
    """The rows of batches of `metrics` that are in the excerpt."""
    for batch in batches:
        data = within(batch.data, excerpt)
        if data.num_rows:
            yield Batch(batch.table, data)
