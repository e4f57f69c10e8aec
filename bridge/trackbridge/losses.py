"""What a target cannot show natively, counted by kind with one example each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Loss:
    """A kind of difference between a run and what its target shows of it.

    What is `kept` is not gone: the sidecar holds it, and it comes back on the way home.
    """

    kind: str
    count: int
    example: str
    kept: bool = True


class Losses:
    """A tally of losses; kinds are plain words such as 'time rounded'."""

    def __init__(self, losses: Iterable[Loss] = ()) -> None:
        self._tally: dict[str, Loss] = {}
        self.merge(losses)

    def add(self, kind: str, example: str, count: int = 1, *, kept: bool = True) -> None:
        if count:
            known = self._tally.get(kind, Loss(kind, 0, example, kept))
            self._tally[kind] = replace(known, count=known.count + count)

    def merge(self, losses: Iterable[Loss]) -> None:
        for loss in losses:
            self.add(loss.kind, loss.example, loss.count, kept=loss.kept)

    def list(self) -> list[Loss]:
        """Every kind, most frequent first."""
        return sorted(self._tally.values(), key=lambda loss: (-loss.count, loss.kind))
