"""Moves a run that is too large for one worker: its points in pieces, by whoever is free.

Each piece is read and written by itself (`Write`), where no reader of the target finds it. Then one
worker writes the rest of the run and commits it with all pieces (`Finish`). Then the run is read
back in pieces (`Prove`): digests add up, however the points of a run are cut.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from trackbridge.adapter import STORE, Batch, Reader, RunInfo, Writer
from trackbridge.columns import relabel
from trackbridge.digest import Digests, RunDigests
from trackbridge.errors import BridgeError, ConfigError, IntegrityError
from trackbridge.filing import FileChoice
from trackbridge.fit import holds_everything
from trackbridge.isolation import Outcome
from trackbridge.optional import Dividing, Splitting
from trackbridge.plan import CHUNK_POINTS, Chunk
from trackbridge.prefetch import prefetched
from trackbridge.proof import compare_digests
from trackbridge.retry import persist
from trackbridge.sidecar import Overlay
from trackbridge.transfer import MissedPointsError, Moved, Written, move

FEWEST_POINTS = 2 * CHUNK_POINTS
"""A run of fewer points is moved whole."""
PIECE_POINTS = 1_000_000
"""So small that workers end together, so large that opening the stores takes nothing beside it."""

Found = TypeVar("Found")


def is_sound(points: Batch) -> bool:
    """Whether each row of `metrics` has a step, a time and a value."""
    return not any(points.data.column(name).null_count for name in ("step", "time", "value"))


@dataclass(frozen=True)
class Write:
    """Copies the points of a piece to where the commit of the run will find them."""

    info: RunInfo
    piece: str

    def carry_out(self, source: Reader, target: Writer, files: FileChoice) -> Written:
        assert isinstance(source, Splitting) and isinstance(target, Dividing)
        digests, points, sound = Digests(), 0, True
        to = target.target(self.info.key)

        def passing() -> Iterator[Batch]:
            nonlocal points, sound
            for batch in source.read_piece(self.info.ref, self.piece):
                native = Batch(batch.table, relabel(batch.data, {self.info.ref: to}))
                digests.add(native)
                points += native.data.num_rows
                sound &= is_sound(native)
                yield native

        with prefetched(passing()) as ready:
            token = target.put_points(self.info.key, ready)
        return Written(token, points, digests[to], sound)


@dataclass(frozen=True)
class Finish:
    """Writes all else of the run, and commits it with the pieces; gives those to be read back."""

    info: RunInfo
    written: Sequence[Written]

    def carry_out(
        self, source: Reader, target: Writer, files: FileChoice
    ) -> tuple[Moved, Sequence[str]] | None:
        """None: it has changed since it was listed, or its store cannot split it."""
        assert isinstance(target, Splitting)
        try:
            moved = move(source, target, [self.info], files=files, written=self.written)
        except MissedPointsError:
            return None
        there = replace(self.info, ref=target.target(self.info.key))
        return moved, target.split(there, PIECE_POINTS)


@dataclass(frozen=True)
class Prove:
    """Reads a piece back."""

    info: RunInfo
    piece: str

    def carry_out(self, source: Reader, target: Writer, files: FileChoice) -> RunDigests:
        assert isinstance(target, Splitting)
        to, found = target.target(self.info.key), Digests()
        with prefetched(target.read_piece(to, self.piece)) as batches_read:
            for batch in batches_read:
                found.add(batch)
        return found[to]


Step = Write | Finish | Prove


@dataclass(frozen=True)
class Fault:
    """Why a step failed."""

    error: str


Way = Generator[Sequence[Step], Sequence[object], Outcome[Moved] | None]
"""Gives steps that may be taken in any order, anywhere, and is sent what came of them, or a `Fault`
of each that failed. In the end it says what became of the run; None: it has to be moved whole."""


def pieces_of(source: Reader, target: Writer, chunk: Chunk) -> Sequence[str]:
    """The pieces that a chunk's only run is moved in; fewer than two: the chunk goes whole.

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
        or not isinstance(target, Splitting)
        or not holds_everything(target.capabilities)
        or Overlay(source, [info]).has_sidecar(info.key.born)
    ):
        return ()
    return source.split(info, PIECE_POINTS)


def taken(step: Step, source: Reader, target: Writer, files: FileChoice) -> object:
    """What a step comes to, tried again where that may help; a `Fault` where it failed."""
    try:
        return persist(partial(step.carry_out, source, target, files))
    except ConfigError:
        raise
    except BridgeError as error:
        return Fault(str(error))


class Split:
    """A run on its way in pieces: the steps that are to be taken now, and what came of them."""

    def __init__(self, chunk: Chunk, pieces: Sequence[str]) -> None:
        self.chunk = chunk
        self.outcome: Outcome[Moved] | None = None
        """What became of the run in the end; None: it has to be moved whole."""
        self._way = in_pieces(chunk, pieces)
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


def in_pieces(chunk: Chunk, pieces: Sequence[str]) -> Way:
    """The way of a run in pieces."""
    (info,) = chunk.runs
    try:
        written = _sound(Written, (yield [Write(info, piece) for piece in pieces]))
        finished = _sound(tuple, (yield [Finish(info, written)]))
        if not finished:
            return None
        ((moved, there),) = finished
        if not moved.failures:
            found = _sound(dict, (yield [Prove(info, piece) for piece in there]))
            unlike = compare_digests(_sum(each.digests for each in written), _sum(found))
            if unlike:
                named = ", ".join(repr(key) for _, key in unlike[:3])
                raise IntegrityError(
                    f"read back from the target, it is not what was written: metrics {named}"
                )
    except IntegrityError as error:
        return Outcome(chunk, None, str(error))
    return Outcome(chunk, moved)


def _sum(digests: Iterable[RunDigests]) -> RunDigests:
    total = Digests()
    for each in digests:
        total.include(STORE, each)
    return total[STORE]


def _sound(kind: type[Found], results: Sequence[object]) -> list[Found]:
    """What steps came to; `IntegrityError` for the first that failed."""
    fault = next((result for result in results if isinstance(result, Fault)), None)
    if fault:
        raise IntegrityError(fault.error)
    return [result for result in results if isinstance(result, kind)]
