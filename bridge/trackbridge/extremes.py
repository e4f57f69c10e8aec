"""Series of points, in few enough of them to be drawn: extremes are kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

STEP, TIME, VALUE, PLACE = range(4)
Points = npt.NDArray[np.float64]
"""Step, time (milliseconds since 1970) and value of points, and their place in the series; shape
(4, points). What a point does not have is NaN."""


class Series:
    """The points of one metric of a run, in the order that they come in.

    As soon as there are too many, only the least and the greatest of each stretch of neighbours
    are kept, and the first and the last of all. Stretches grow as the series does, all alike:
    there are `stretches` of them at least and twice as many at most. A series is kept whole that
    has no more points than four times as many.
    """

    def __init__(self, stretches: int) -> None:
        self._fewest = stretches
        self.count = 0
        self.nan = 0
        self.infinite = 0
        self._width = 1
        """Points of a stretch."""
        self._rest: list[Points] = []
        self._rest_count = 0
        self._least = self._greatest = np.empty((4, 0))
        self._ends: list[Points] = []

    def add(self, points: Points) -> None:
        """Take points, shape (3, points): step, time and value."""
        values = points[VALUE]
        drawn = np.isfinite(values)
        missing = int(np.isnan(values).sum())
        self.nan += missing
        self.infinite += len(values) - int(drawn.sum()) - missing
        places = np.arange(self.count, self.count + len(values), dtype=np.float64)
        self.count += len(values)
        taken = np.vstack([points, places])[:, drawn]
        if not taken.size:
            return
        self._ends = [self._ends[0] if self._ends else taken[:, :1].copy(), taken[:, -1:].copy()]
        self._rest.append(taken)
        self._rest_count += taken.shape[1]
        if self._rest_count > 4 * self._fewest:
            self._fold()

    @property
    def stretches(self) -> int:
        """How many stretches the extremes of which are kept; 0 where all points are."""
        if self._width == 1:
            return 0
        self._fold()
        return self._least.shape[1] + bool(self._rest_count)

    @property
    def last(self) -> float | None:
        """The last value that is a number."""
        return float(self._ends[1][VALUE, 0]) if self._ends else None

    def kept(self) -> Points:
        """The points to be drawn, in their order; NaN and infinite ones are only counted."""
        reduced = self.stretches  # which may move points into stretches
        rest = self._rest
        if reduced and self._rest_count:
            last = rest[0][:, None, :]
            rest = [_extreme(last, np.argmin), _extreme(last, np.argmax)]
        every = np.hstack([self._least, self._greatest, *self._ends, *rest])
        _, first = np.unique(every[PLACE], return_index=True)
        return every[:, first]

    def _fold(self) -> None:
        """Move points into stretches, as far as they fill some."""
        rest = np.hstack([np.empty((4, 0)), *self._rest])
        while fitting := rest.shape[1] // self._width:
            number = min(fitting, 2 * self._fewest - self._least.shape[1])
            taken = number * self._width
            self._append(rest[:, :taken].reshape(4, number, self._width))
            rest = rest[:, taken:]
            if self._least.shape[1] == 2 * self._fewest:
                self._least = _extreme(self._least.reshape(4, self._fewest, 2), np.argmin)
                self._greatest = _extreme(self._greatest.reshape(4, self._fewest, 2), np.argmax)
                self._width *= 2
        self._rest, self._rest_count = [rest.copy()], rest.shape[1]

    def _append(self, stretches: Points) -> None:
        self._least = np.hstack([self._least, _extreme(stretches, np.argmin)])
        self._greatest = np.hstack([self._greatest, _extreme(stretches, np.argmax)])


def _extreme(stretches: Points, which: Any) -> Points:
    """One point of each stretch; shape (4, stretches, points) -> (4, stretches)."""
    found = which(stretches[VALUE], axis=1)
    return np.take_along_axis(stretches, found[None, :, None], axis=2)[:, :, 0]
