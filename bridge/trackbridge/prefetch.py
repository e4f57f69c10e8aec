"""Runs an iterator ahead of its consumer in a thread, so that reading and writing overlap."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar, cast

Item = TypeVar("Item")

DEPTH = 4
_END = object()


@contextmanager
def prefetched(items: Iterator[Item]) -> Iterator[Iterator[Item]]:
    """The same items in the same order, at most DEPTH of them ahead.

    An error of the iterator is raised where its item would have come. On leaving, the thread has
    ended, whether or not all items were taken.
    """
    ahead: queue.Queue[object] = queue.Queue(DEPTH)
    stopped = threading.Event()
    failure: list[BaseException] = []

    def put(item: object) -> bool:
        while not stopped.is_set():
            try:
                ahead.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def run() -> None:
        try:
            for item in items:
                if not put(item):
                    return
        except BaseException as error:  # noqa: BLE001 - handed over to the consumer
            failure.append(error)
        put(_END)

    def taken() -> Iterator[Item]:
        while (item := ahead.get()) is not _END:
            yield cast(Item, item)
        if failure:
            raise failure[0]

    thread = threading.Thread(target=run, name="trackbridge-prefetch", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        stopped.set()
        thread.join()
