"""Calls with values on an accelerator: copied there at once, written by a thread of their own.

Reading such a value would make the training wait for everything that the accelerator has still to
do. A copy on the accelerator is put into its queue like any other work, so it has the value as it
is now, and only the thread waits. Until it has read it, neither that call is in the journal nor
those after it: so they keep their order.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from trackbridge.dual.values import is_late

Call = tuple[dict[str, Any], int, int, int, bool]
"""Values by their names, row, step and time, and whether the row ends with it."""


class Late:
    """Hands calls over to `write`, from a thread, in order."""

    is_waiting = False
    """Whether a call was not written yet; then those after it have to wait too."""

    def __init__(self, write: Callable[[dict[str, Any], int, int, int, bool], None]) -> None:
        self._write = write
        self._thread: threading.Thread | None = None
        self._begin()

    def add(self, data: dict[str, Any], row: int, step: int, at: int, closed: bool) -> None:
        """Take values as they are now."""
        if self._process != os.getpid():  # a child has no thread, and what waits is the parent's
            self._begin()
        taken = {key: v.detach().clone() if is_late(v) else v for key, v in data.items()}
        with self._lock:
            self.is_waiting = True
            self._waiting.put((taken, row, step, at, closed))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="trackbridge-late", daemon=True)
            self._thread.start()

    def drain(self, seconds: float) -> int:
        """Wait until everything is written, but not for ever; gives how many calls are not."""
        end = time.monotonic() + seconds
        while (left := self._waiting.unfinished_tasks) and time.monotonic() < end:
            time.sleep(0.01)
        return left

    def _begin(self) -> None:
        self._process = os.getpid()
        self._waiting: queue.Queue[Call] = queue.Queue()
        self._lock = threading.Lock()
        self._thread, self.is_waiting = None, False

    def _run(self) -> None:
        while True:
            call = self._waiting.get()
            self._write(*call)
            with self._lock:
                self._waiting.task_done()
                self.is_waiting = self._waiting.unfinished_tasks > 0
