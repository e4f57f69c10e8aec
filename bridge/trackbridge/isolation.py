"""Moves a chunk of runs so that those at fault do not hold up the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from trackbridge.adapter import Reader, RunInfo, Writer
from trackbridge.errors import BridgeError, ConfigError, TransientError
from trackbridge.filing import FileChoice
from trackbridge.plan import Chunk
from trackbridge.progress import SILENCE, Progress
from trackbridge.retry import ATTEMPTS, persist
from trackbridge.transfer import Moved, move

PART_ATTEMPTS = 2
"""So often parts of a chunk are tried that has been tried with all patience."""


@dataclass
class Outcome:
    """A chunk, or a part of one, that was moved or failed."""

    chunk: Chunk
    moved: Moved | None
    error: str = ""


def move_apart(
    reader: Reader,
    writer: Writer,
    chunk: Chunk,
    files: FileChoice,
    progress: Progress = SILENCE,
    attempts: int = ATTEMPTS,
) -> Iterator[Outcome]:
    """Move a chunk; one that fails is halved until the runs at fault stand alone.

    A fault that may pass, and did not, is one of a store if a few runs alone meet it too: the rest
    would only take longer then. Else it is one of runs, or of their files, like any other.
    """
    step = partial(move, reader, writer, chunk.runs, progress, files)
    try:
        yield Outcome(chunk, persist(step, attempts))
        return
    except ConfigError:
        raise
    except BridgeError as error:
        fault = error
    rest = list(chunk.runs)
    if len(rest) == 1:
        yield Outcome(chunk, None, str(fault))
        return
    if isinstance(fault, TransientError):
        attempts = PART_ATTEMPTS
        for run in _few(rest):
            rest.remove(run)
            [outcome] = move_apart(reader, writer, Chunk((run,)), files, progress, attempts)
            yield outcome
            if outcome.moved:
                break
        else:
            yield from (Outcome(Chunk((run,)), None, str(fault)) for run in rest)
            return
    for part in Chunk(tuple(rest)).halves():
        yield from move_apart(reader, writer, part, files, progress, attempts)


def _few(runs: list[RunInfo]) -> list[RunInfo]:
    """The first, the last and one between them: what is at fault is often listed together."""
    return [runs[place] for place in sorted({0, len(runs) // 2, len(runs) - 1})]
