"""Threads within a step: an iterator ahead of its consumer, and the same work on many items."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar, cast

Item = TypeVar("Item")
Result = TypeVar("Result")

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


@contextmanager
def together(
    work: Callable[[Item], Result], items: Iterable[Item], count: int
) -> Iterator[Iterator[tuple[Item, Result]]]:
    """Items with what `work` makes of them, in their order, `count` of them at a time.

    An error is raised where its item would have come. On leaving, no work is going on.
    """
    with ThreadPoolExecutor(count, "trackbridge-files") as pool:
        waiting: deque[tuple[Item, Future[Result]]] = deque()

        def done() -> Iterator[tuple[Item, Result]]:
            for item in items:
                waiting.append((item, pool.submit(work, item)))
                if len(waiting) >= 2 * count:
                    yield _result(*waiting.popleft())
            while waiting:
                yield _result(*waiting.popleft())

        try:
            yield done() if count > 1 else ((item, work(item)) for item in items)
        finally:
            for _, future in waiting:
                future.cancel()


def _result(item: Item, future: Future[Result]) -> tuple[Item, Result]:
    return item, future.result()
