"""Stores that a worker keeps open from one chunk of a job to the next, and no longer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from trackbridge.adapter import Reader, Writer

IDLE_SECONDS = 30.0
"""After so long without work they are let go: connections and snapshots cost their servers."""


class _Open(NamedTuple):
    job: str
    reader: Reader
    writer: Writer
    used: float


_open: dict[int, _Open] = {}
"""By thread: stores are for one at a time."""
_lock = threading.Lock()


@contextmanager
def kept_open(
    job: str, reader: Callable[[], Reader], writer: Callable[[], Writer]
) -> Iterator[tuple[Reader, Writer]]:
    """The stores of a job, opened by the first chunk that a thread does of it.

    Else what lies in an archive of thousands of chunks would be listed for each of them. After an
    error they are opened anew.
    """
    me = threading.get_ident()
    with _lock:
        found = _open.pop(me, None)
    stores = (found.reader, found.writer) if found and found.job == job else (reader(), writer())
    yield stores
    with _lock:
        if not _open:
            threading.Thread(target=_let_go, name="trackbridge-idle", daemon=True).start()
        _open[me] = _Open(job, *stores, time.monotonic())


def _let_go() -> None:
    while True:
        time.sleep(IDLE_SECONDS / 10)
        with _lock:
            now = time.monotonic()
            for thread, each in list(_open.items()):
                if now - each.used > IDLE_SECONDS:
                    del _open[thread]
            if not _open:
                return
