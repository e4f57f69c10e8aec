"""Values that lie on an accelerator: copied there at once, read by a thread of their own.

Reading one would make the training wait for everything that the accelerator has still to do. A
copy on the accelerator is put into its queue like any other work, so it has the value as it is now,
and only the thread waits. Until it has read a value, that one is not in the journal.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

Put = Callable[[dict[str, Any], int, int, int], None]


class Late:
    """Hands values over to `put`, with the row, step and time of their call, from a thread."""

    def __init__(self, put: Put) -> None:
        self._put = put
        self._thread: threading.Thread | None = None
        self._begin()

    def add(self, data: dict[str, Any], row: int, step: int, at: int) -> None:
        """Take values as they are now."""
        copies = {key: value.detach().clone() for key, value in data.items()}
        if self._process != os.getpid():  # a child has no thread, and what waits is the parent's
            self._begin()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="trackbridge-late", daemon=True)
            self._thread.start()
        self._waiting.put((copies, row, step, at))

    def drain(self, seconds: float) -> int:
        """Wait until everything is handed over, but not for ever; gives how many calls are not."""
        end = time.monotonic() + seconds
        while (left := self._waiting.unfinished_tasks) and time.monotonic() < end:
            time.sleep(0.01)
        return left

    def _begin(self) -> None:
        self._process = os.getpid()
        self._waiting: queue.Queue[tuple[dict[str, Any], int, int, int]] = queue.Queue()
        self._thread = None

    def _run(self) -> None:
        while True:
            data, row, step, at = self._waiting.get()
            self._put(data, row, step, at)
            self._waiting.task_done()
