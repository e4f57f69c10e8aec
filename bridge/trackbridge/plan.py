"""What a migration will do: runs in chunks. Pure functions over listings."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass

from trackbridge.adapter import RunInfo

CHUNK_RUNS = 500
CHUNK_POINTS = 2_000_000
CHUNK_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class Chunk:
    """Runs that are read, written, committed and proven together."""

    runs: tuple[RunInfo, ...]

    @property
    def id(self) -> str:
        """16 hex digits, the same for the same runs in the same state."""
        state = hashlib.sha256()
        for info in self.runs:
            state.update(f"{info.key}\n{info.fingerprint}\n".encode())
        return state.hexdigest()[:16]

    @property
    def points(self) -> int:
        return sum(info.points for info in self.runs)

    def halves(self) -> list[Chunk]:
        """Two chunks that together are this one, as far as it has as many runs."""
        middle = len(self.runs) // 2
        return [Chunk(runs) for runs in (self.runs[:middle], self.runs[middle:]) if runs]


def proven(chunk: Chunk, keys: Container[str]) -> Chunk:
    """Those runs of a chunk whose keys are given: receipts are called by what they are of."""
    return Chunk(tuple(info for info in chunk.runs if str(info.key) in keys))


def chunked(runs: Iterable[RunInfo]) -> Iterator[Chunk]:
    """Runs in chunks of bounded size, in order; a run that is too large has one of its own.

    Runs whose origins have equal labels (the same project and id at two instances) never share
    one, since batches tell runs apart by their labels.
    """
    part: list[RunInfo] = []
    labels: set[tuple[str, str]] = set()
    points = size = 0
    for info in runs:
        label = (info.key.project, info.key.run_id)
        points, size = points + info.points, size + info.size
        if part and (_full(len(part) + 1, points, size) or label in labels):
            yield Chunk(tuple(part))
            part, labels, points, size = [], set(), info.points, info.size
        part.append(info)
        labels.add(label)
    if part:
        yield Chunk(tuple(part))


def _full(runs: int, points: int, size: int) -> bool:
    return runs > CHUNK_RUNS or points > CHUNK_POINTS or size > CHUNK_BYTES
