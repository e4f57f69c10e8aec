"""A store in which one run ends the process that reads it, or is a mistake of ours."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import Any

from trackbridge.adapter import Batch, Reader, RunRef


class Deadly:
    """What a reader gives, but for one run."""

    def __init__(self, run_id: str, error: str, reader: Reader) -> None:
        self._run_id, self._error, self._reader = run_id, error, reader
        self._caller = os.getpid()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def read_runs(
        self, refs: Sequence[RunRef], tables: Collection[str] | None = None
    ) -> Iterator[Batch]:
        if any(ref.run_id == self._run_id for ref in refs):
            if self._error:
                raise ValueError(self._error)
            os._exit(9)
        return self._reader.read_runs(refs, tables)


def deadly(run_id: str, error: str = "") -> partial[Any]:
    """For `through`: without an error the process ends."""
    return partial(Deadly, run_id, error)
