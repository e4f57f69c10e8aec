"""Calls with values on an accelerator: written by a thread that waits for these values.

Reading such a value would make the training wait for everything that the accelerator has still to
do. A copy on the accelerator is put into its queue like any other work, so it has the value as it
is now, and only the thread waits. Until it has read it, neither that call is in the journal nor
those after it: so they keep their order.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any


class Late:
    """Hands calls over to `write`, which raises nothing, from a thread and in order."""

    def __init__(self, write: Callable[..., None]) -> None:
        self._write = write
        self._begin()

    def _begin(self) -> None:
        self.taken = self.written = 0
        """How many calls were handed over; while some are not written, those after have to wait."""
        self._process = os.getpid()
        self._waiting: SimpleQueue[tuple[Any, ...]] = SimpleQueue()  # signal handlers may put too
        self._thread: threading.Thread | None = None

    def add(self, *call: Any) -> None:
        """Take what `write` is to be given; one thread at a time."""
        if self._process != os.getpid():  # a child has no thread, and what waits is the parent's
            self._begin()
        self.taken += 1
        self._waiting.put(call)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="trackbridge-late", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # there can be no more threads: the training has to wait itself
                self._thread = None
                while not self._waiting.empty():
                    self._write_next()

    def drain(self, seconds: float) -> int:
        """Wait until everything is written, but not for ever; gives how many calls are not."""
        if self._process != os.getpid():
            return 0
        end = time.monotonic() + seconds
        while self.written < self.taken and time.monotonic() < end:
            time.sleep(0.01)
        return self.taken - self.written

    def _run(self) -> None:
        while True:
            self._write_next()

    def _write_next(self) -> None:
        self._write(*self._waiting.get())
        self.written += 1
