"""Moves a run that is too large for one worker: its points in parts, by whoever is free.

Each part is read and written by itself (`Write`), where no reader of the target finds it. Then one
worker writes the rest of the run and commits it with all parts (`Finish`). Then each part is read
back and compared (`Prove`): digests add up over the parts of a run.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from trackbridge.adapter import Batch, Dividing, Part, Reader, RunInfo, Selecting, Splitting, Writer
from trackbridge.columns import relabel
from trackbridge.digest import Digests
from trackbridge.errors import BridgeError, ConfigError, IntegrityError
from trackbridge.filing import FileChoice
from trackbridge.fit import holds_everything
from trackbridge.isolation import Outcome
from trackbridge.plan import CHUNK_POINTS, Chunk
from trackbridge.prefetch import prefetched
from trackbridge.proof import compare_digests
from trackbridge.retry import persist
from trackbridge.sidecar import Overlay
from trackbridge.transfer import Moved, Written, move

FEWEST_POINTS = 2 * CHUNK_POINTS
"""A run of fewer points is moved whole."""
PART_POINTS = 1_000_000
"""So small that workers end together, so large that opening the stores takes nothing beside it."""

Found = TypeVar("Found")


@dataclass(frozen=True)
class Write:
    """Copies the points of a part to where the commit of the run will find them."""

    info: RunInfo
    part: Part

    def carry_out(self, source: Reader, target: Writer, files: FileChoice) -> Written:
        assert isinstance(source, Selecting) and isinstance(target, Dividing)
        digests, points = Digests(), 0
        to = target.target(self.info.key)

        def passing() -> Iterator[Batch]:
            nonlocal points
            for batch in source.read_points([self.info.ref], self.part):
                native = Batch(batch.table, relabel(batch.data, {self.info.ref: to}))
                digests.add(native)
                points += native.data.num_rows
                yield native

        with prefetched(passing()) as ready:
            token = target.put_points(self.info.key, ready)
        return Written(self.part, token, points, digests[to])


@dataclass(frozen=True)
class Finish:
    """Writes all else of the run, and commits it with the parts."""

    info: RunInfo
    written: Sequence[Written]

    def carry_out(self, source: Reader, target: Writer, files: FileChoice) -> Moved:
        return move(source, target, [self.info], files=files, written=self.written)


@dataclass(frozen=True)
class Prove:
    """Reads a part back; gives the keys whose points are not what was written."""

    info: RunInfo
    written: Written

    def carry_out(self, source: Reader, target: Writer, files: FileChoice) -> list[str]:
        assert isinstance(target, Selecting)
        to, found = target.target(self.info.key), Digests()
        with prefetched(target.read_points([to], self.written.part)) as batches_read:
            for batch in batches_read:
                found.add(batch)
        unlike = compare_digests(self.written.digests, found[to])
        return [key or table for table, key in unlike]


Step = Write | Finish | Prove


@dataclass(frozen=True)
class Fault:
    """Why a step failed."""

    error: str


Way = Generator[Sequence[Step], Sequence[object], Outcome[Moved] | None]
"""Gives steps that may be taken in any order, anywhere, and is sent what came of them, or a `Fault`
of each that failed. In the end it says what became of the run; None: it has to be moved whole."""


def parts_of(source: Reader, target: Writer, chunk: Chunk) -> Sequence[Part]:
    """The parts that a chunk's only run is to be moved in; fewer than two: the chunk goes whole.

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
    return source.split(info, PART_POINTS)


def taken(step: Step, source: Reader, target: Writer, files: FileChoice) -> object:
    """What a step comes to, tried again where that may help; a `Fault` where it failed."""
    try:
        return persist(partial(step.carry_out, source, target, files))
    except ConfigError:
        raise
    except BridgeError as error:
        return Fault(str(error))


class Split:
    """A run on its way in parts: the steps that are to be taken now, and what came of them."""

    def __init__(self, chunk: Chunk, parts: Sequence[Part]) -> None:
        self.chunk = chunk
        self.outcome: Outcome[Moved] | None = None
        """What became of the run in the end; None: it has to be moved whole."""
        self._way = in_parts(chunk, parts)
        self._begin(next(self._way))

    def _begin(self, steps: Sequence[Step]) -> None:
        self.steps = steps
        self._results: dict[int, object] = {}

    def put(self, number: int, result: object) -> bool:
        """Note what a step came to; whether there are others now, or none in the end."""
        self._results[number] = result
        if len(self._results) < len(self.steps):
            return False
        try:
            self._begin(self._way.send([self._results[n] for n in range(len(self.steps))]))
        except StopIteration as end:
            self.steps, self.outcome = (), end.value
        return True


def in_parts(chunk: Chunk, parts: Sequence[Part]) -> Way:
    """The way of a run in parts."""
    (info,) = chunk.runs
    try:
        written = _sound(Written, (yield [Write(info, part) for part in parts]))
        if sum(each.points for each in written) != info.points:
            return None  # it has changed since it was listed, or its store cannot split it
        (moved,) = _sound(Moved, (yield [Finish(info, written)]))
        if not moved.failures:
            unlike = _sound(list, (yield [Prove(info, each) for each in written]))
            keys = sorted({key for found in unlike for key in found})
            if keys:
                named = ", ".join(map(repr, keys[:3]))
                raise IntegrityError(
                    f"read back from the target, it is not what was written: metrics {named}"
                )
    except IntegrityError as error:
        return Outcome(chunk, None, str(error))
    return Outcome(chunk, moved)


def _sound(kind: type[Found], results: Sequence[object]) -> list[Found]:
    """What steps came to; `IntegrityError` for the first that failed."""
    fault = next((result for result in results if isinstance(result, Fault)), None)
    if fault:
        raise IntegrityError(fault.error)
    return [result for result in results if isinstance(result, kind)]
