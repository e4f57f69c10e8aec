"""Progress of long work as bars on stderr."""

from __future__ import annotations

import sys
import threading
from typing import Any

from tqdm import tqdm

TICK_SECONDS = 1.0
"""How often the time is shown anew: a server may take minutes with what it was given."""
FORMAT = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}{postfix}]"


class Bars:
    """How far runs have come, with time left; silent where nobody watches.

    Half the way is made when all points were read, and all of it when all runs are done: reading
    says nothing of how long a server takes with what it is given.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar: tqdm[Any] | None = None
        self._runs, self._done = 0, 0
        self._points, self._read = 0, 0
        self._ended = threading.Event()

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        if self._bar is not None:
            self._bar.close()

    def begin(self, runs: int, points: int) -> None:
        self._runs, self._points = runs, points
        self._bar = tqdm(
            total=1.0,
            desc=self._title,
            bar_format=FORMAT,
            smoothing=0,  # what the whole has taken so far, waiting included
            file=sys.stderr,
            disable=not sys.stderr.isatty(),
        )
        self._show()
        if not self._bar.disable:
            threading.Thread(target=self._tick, daemon=True).start()

    def points(self, count: int) -> None:
        self._read += count
        self._show()

    def runs(self, count: int) -> None:
        self._done += count
        self._show()

    def _show(self) -> None:
        if self._bar is None:
            return
        done = self._done / self._runs if self._runs else 1.0
        read = max(done, self._read / max(self._points, self._read, 1))  # the listing may estimate
        points = tqdm.format_sizeof(self._read)
        margin = f"{points} points read, {self._done}/{self._runs} runs done"
        self._bar.set_postfix_str(margin, refresh=False)
        self._bar.update((read + done) / 2 - self._bar.n)

    def _tick(self) -> None:
        while not self._ended.wait(TICK_SECONDS):
            if self._bar is not None:
                self._bar.refresh()
