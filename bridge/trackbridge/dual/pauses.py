"""Pauses after failures, each twice the one before, up to a longest one."""

from __future__ import annotations

import time

FIRST, LONGEST = 1.0, 60.0
"""Seconds."""


class Pause:
    """Of what failed; it is over at first, and again once something has succeeded."""

    _seconds = _until = 0.0

    def begin(self) -> None:
        """It has failed, again or for the first time."""
        self._seconds = min(2 * self._seconds, LONGEST) if self._seconds else FIRST
        self._until = time.monotonic() + self._seconds

    def end(self) -> None:
        """It has succeeded."""
        self._seconds = self._until = 0.0

    @property
    def left(self) -> float:
        """Seconds until it is over."""
        return max(0.0, self._until - time.monotonic())
