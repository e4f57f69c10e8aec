"""Progress of long work: how it is told, and bars on stderr that show it."""

from __future__ import annotations

import sys
import threading
from contextlib import ExitStack
from typing import Any, Protocol

from tqdm import tqdm

from trackbridge.retry import LOGGER

TICK_SECONDS = 1.0
"""How often the time is shown anew: a server may take minutes with what it was given."""
FORMAT = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}{postfix}]"
STAGE_FORMAT = FORMAT.replace("<{remaining}", "")
"""Of stages in which nothing tells how far they are."""


class Progress(Protocol):
    """Is told how far a job is; all methods are called from the calling thread."""

    def begin(self, runs: int, points: int) -> None: ...
    def points(self, count: int) -> None: ...
    def stage(self, what: str) -> None:
        """What is done now with the runs whose points were read; it may take long."""

    def runs(self, count: int) -> None: ...


class _Silence:
    def begin(self, runs: int, points: int) -> None: ...
    def points(self, count: int) -> None: ...
    def stage(self, what: str) -> None: ...
    def runs(self, count: int) -> None: ...


SILENCE: Progress = _Silence()
"""Progress that nobody watches."""


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
        self._stage = ""
        self._ended = threading.Event()
        self._messages = ExitStack()

    def __enter__(self) -> Bars:
        from tqdm.contrib.logging import logging_redirect_tqdm  # warns in notebooks

        self._messages.enter_context(logging_redirect_tqdm([LOGGER]))
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        if self._bar is not None:
            self._bar.close()
        self._messages.close()

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
        self._stage = ""
        self._show()

    def stage(self, what: str) -> None:
        self._stage = what
        self._show()

    def runs(self, count: int) -> None:
        self._done += count
        self._stage = ""
        self._show()

    def _show(self) -> None:
        if self._bar is None:
            return
        done = self._done / self._runs if self._runs else 1.0
        read = max(done, self._read / max(self._points, self._read, 1))  # the listing may estimate
        points = tqdm.format_sizeof(self._read)
        margin = f"{points} points read, {self._done}/{self._runs} runs done"
        if self._stage:
            margin = f"{margin}, {self._stage}"
        self._bar.bar_format = STAGE_FORMAT if self._stage else FORMAT
        self._bar.set_postfix_str(margin, refresh=False)
        self._bar.update((read + done) / 2 - self._bar.n)

    def _tick(self) -> None:
        while not self._ended.wait(TICK_SECONDS):
            if self._bar is not None:
                self._bar.refresh()
