"""Which row and step each log call has."""

from __future__ import annotations

from collections.abc import Iterable

_NOTHING: frozenset[str] = frozenset()
_LAST = 2**62
"""Steps are below it, so that others may come after them."""


class Steps:
    """Numbers calls: those with one step are one row, in which no key repeats."""

    def __init__(self, row: int = 0, step: int = 0) -> None:
        self.row, self.step = row, step
        """Of the next call that names no step."""
        self._used: Iterable[str] = _NOTHING
        """Keys of the row that is still open."""

    def place(
        self, keys: tuple[str, ...], step: int | None, commit: bool | None
    ) -> tuple[int, int, bool]:
        """Row and step of a call with these keys, and whether its row ends with it.

        See `Run.log`. Calls come one at a time, but signal handlers may come in between.
        """
        if step is None and not self._used and commit is not False:  # as nearly all are
            row, here = self.row, self.step
            self.row, self.step = row + 1, here + 1
            return row, here, True
        late = False
        if step is not None:
            step = int(step)
            if abs(step) >= _LAST:
                raise ValueError(f"{step} is no step")
            if step != self.step or not set(keys).isdisjoint(self._used):
                self._close()
            late = step < self.step
            if not late:
                self.step = step
        elif not set(keys).isdisjoint(self._used):
            self._close()
        row, here = self.row, self.step if step is None else step
        closed = late or (step is None if commit is None else commit)
        if closed:
            self.row, self._used = row + 1, _NOTHING
            self.step += not late
        else:
            self._used = {*self._used, *keys}
        return row, here, closed

    def _close(self) -> None:
        if self._used:
            self.row, self._used = self.row + 1, _NOTHING
