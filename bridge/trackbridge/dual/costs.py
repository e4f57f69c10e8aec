"""What calls cost the training: a sample of them, of bounded size."""

from __future__ import annotations

KEPT = 4096
"""Costs that are kept; once there are so many, every other one goes, and fewer are taken."""


class Costs:
    """Times of calls, in nanoseconds."""

    def __init__(self) -> None:
        self.calls = 0
        self.most = 0
        self._every = 1
        self._kept: list[int] = []

    def add(self, cost: int) -> None:
        self.calls += 1
        if cost > self.most:
            self.most = cost
        if not self.calls % self._every:
            self._kept.append(cost)
            if len(self._kept) >= KEPT:
                self._kept, self._every = self._kept[::2], self._every * 2

    def summary(self) -> dict[str, float]:
        """Number of calls, and microseconds of the median, of the 99th of a hundred, at most."""
        if not self._kept:
            return {"calls": self.calls}
        ordered = sorted(self._kept)
        at = [ordered[min(len(ordered) - 1, int(len(ordered) * part))] for part in (0.5, 0.99)]
        p50, p99, most = (cost / 1000 for cost in (*at, self.most))
        return {"calls": self.calls, "p50": p50, "p99": p99, "max": most}
