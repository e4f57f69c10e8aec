"""What is damaged of runs in a store."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from trackbridge.adapter import Batch, Reader, Row, RunInfo, RunRef
from trackbridge.errors import BridgeError
from trackbridge.sidecar import Overlay

File = tuple[str, str]
"""Owner and path of a file, as the run had it where it was born."""


@dataclass
class Damage:
    """Of some runs, by the project and id that they were born with."""

    named: dict[RunRef, list[str]] = field(default_factory=dict)
    """What adapters say in rows of `runs`, and what copying has shown."""
    missing: dict[RunRef, list[File]] = field(default_factory=dict)
    """Files that are listed and have no bytes."""

    def note(self, batch: Batch) -> None:
        """Take down what rows of `runs` say; other tables say nothing."""
        if batch.table != "runs":
            return
        columns = (batch.data.column(name).to_pylist() for name in ("project", "run_id", "extra"))
        for project, run_id, extra in zip(*columns):
            if extra and '"damage"' in extra:
                self.named[RunRef(project, run_id)] = list(json.loads(extra).get("damage", []))

    def doubt(self, run: RunRef, what: str) -> None:
        self.named.setdefault(run, []).append(what)

    def miss(self, row: Row, overlay: Overlay) -> None:
        """Take down a file without bytes that the store itself lists.

        A sidecar lists some that were missing where the run was born: those are not this store's.
        """
        run, file = RunRef(row["project"], row["run_id"]), (row["owner"] or "", row["path"])
        if overlay.lists(run, *file):
            self.missing.setdefault(run, []).append(file)

    def of(self, run: RunRef) -> list[str]:
        """A line for each thing that is damaged of a run."""
        bare = map("/".join, (filter(None, file) for file in self.missing.get(run, ())))
        lines = (f"{file}: its bytes are missing, though it is listed" for file in bare)
        return [*self.named.get(run, ()), *lines]

    def lines(self) -> Iterator[tuple[RunRef, str]]:
        """The same of all runs, each line with its run."""
        for run in dict.fromkeys((*self.named, *self.missing)):
            yield from ((run, text) for text in self.of(run))

    def __ior__(self, other: Damage) -> Damage:
        self.named |= other.named
        self.missing |= other.missing
        return self


def is_back(reader: Reader, info: RunInfo, missing: Collection[Collection[str]]) -> bool:
    """Whether a store has bytes now of files that had none when they were moved."""
    if not missing:
        return False
    overlay = Overlay(reader, [info])
    for owner, path in missing:
        try:
            overlay.open_file(info.key.born, owner, path).close()
        except BridgeError:
            continue
        return True
    return False
