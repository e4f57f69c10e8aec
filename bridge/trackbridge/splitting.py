"""Moves a run that is too large for one worker: its points in parts, by whoever is free.

Each part is read and written by itself (`write_part`), where no reader of the target finds it.
Then one worker writes the rest of the run and commits it with all parts (`transfer.move`). Then
each part is read back and compared (`prove_part`): digests add up over the parts of a run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from trackbridge.adapter import Batch, Dividing, Part, Reader, RunInfo, Selecting, Splitting, Writer
from trackbridge.columns import relabel
from trackbridge.digest import Digests, RunDigests
from trackbridge.errors import TransientError
from trackbridge.fit import holds_everything
from trackbridge.plan import CHUNK_POINTS, Chunk
from trackbridge.prefetch import prefetched
from trackbridge.proof import compare_digests
from trackbridge.sidecar import Overlay

FEWEST_POINTS = 2 * CHUNK_POINTS
"""A run of fewer points is moved whole."""


class Written(NamedTuple):
    """A part of a run that is in the target, though no reader finds it there yet."""

    part: Part
    token: str
    points: int
    digests: RunDigests


def parts_of(source: Reader, target: Writer, chunk: Chunk) -> Sequence[Part]:
    """The parts that a chunk's only run is to be moved in; none: the chunk is moved as it is.

    It depends on the run and the two stores alone, so that the target is the same whatever the
    number of workers. A run with a sidecar is whole only together.
    """
    info = chunk.runs[0]
    if (
        len(chunk.runs) > 1
        or info.estimated
        or info.points < FEWEST_POINTS
        or not isinstance(source, Splitting)
        or not isinstance(target, Dividing)
        or not holds_everything(target.capabilities)
        or Overlay(source, [info]).has_sidecar(info.key.born)
    ):
        return ()
    return source.split(info, CHUNK_POINTS)


def write_part(source: Selecting, target: Dividing, info: RunInfo, part: Part) -> Written:
    """Copy the points of a part to where the commit of the run will find them."""
    digests, points = Digests(), 0
    to = target.target(info.key)

    def passing() -> Iterator[Batch]:
        nonlocal points
        for batch in source.read_points([info.ref], part):
            native = Batch(batch.table, relabel(batch.data, {info.ref: to}))
            digests.add(native)
            points += native.data.num_rows
            yield native

    with prefetched(passing()) as ready:
        token = target.put_points(info.key, ready)
    return Written(part, token, points, digests[to])


def check_whole(info: RunInfo, written: Sequence[Written]) -> None:
    """`TransientError` unless the parts have all the points that the run was listed with."""
    points = sum(each.points for each in written)
    if points != info.points:
        raise TransientError(
            f"run {info.ref.run_id}: its parts have {points:,} points, not {info.points:,}"
        )


def prove_part(target: Writer, info: RunInfo, written: Written) -> list[str]:
    """Read a part back; gives the keys whose points are not what was written."""
    assert isinstance(target, Selecting)
    to, found = target.target(info.key), Digests()
    with prefetched(target.read_points([to], written.part)) as batches_read:
        for batch in batches_read:
            found.add(batch)
    unlike = compare_digests(written.digests, found[to])
    return [key or table for table, key in unlike]
