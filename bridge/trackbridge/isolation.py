"""Does something with a chunk of runs so that those at fault do not hold up the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from trackbridge.adapter import RunInfo
from trackbridge.errors import BridgeError, ConfigError, TransientError
from trackbridge.plan import Chunk
from trackbridge.retry import ATTEMPTS, persist

PART_ATTEMPTS = 2
"""So often parts of a chunk are tried that has been tried with all patience."""

Result = TypeVar("Result")


@dataclass
class Outcome(Generic[Result]):
    """What a chunk, or a part of one, came to: a result or, for a single run, an error."""

    chunk: Chunk
    result: Result | None
    error: str = ""


def apart(
    chunk: Chunk, step: Callable[[Chunk], Result], attempts: int = ATTEMPTS
) -> Iterator[Outcome[Result]]:
    """Take a step with a chunk; one that fails is halved until the runs at fault stand alone.

    A fault that may pass, and did not, is one of a store if a few runs alone meet it too: the rest
    would only take longer then. Else it is one of runs, or of their files, like any other.
    """
    try:
        yield Outcome(chunk, persist(partial(step, chunk), attempts))
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
            [outcome] = apart(Chunk((run,)), step, attempts)
            yield outcome
            if outcome.result is not None:
                break
        else:
            yield from (Outcome(Chunk((run,)), None, str(fault)) for run in rest)
            return
    for part in Chunk(tuple(rest)).halves():
        yield from apart(part, step, attempts)


def _few(runs: list[RunInfo]) -> list[RunInfo]:
    """The first, the last and one between them: what is at fault is often listed together."""
    return [runs[place] for place in sorted({0, len(runs) // 2, len(runs) - 1})]
