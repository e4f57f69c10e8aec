"""Migrations at the same time, and somebody who logs to their target meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import trackbridge


def migrated(origins: Sequence[str], target: str, log: Callable[[], object]) -> list[object]:
    """Move all origins at once, and `log` until they are there; gives everything that failed."""
    stop, failures = threading.Event(), []

    def live() -> None:
        try:
            while not stop.is_set():
                log()
        except BaseException as error:
            failures.append(error)
            raise

    def move(origin: str) -> None:
        try:
            failures.extend(trackbridge.migrate(origin, target).failures)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=move, args=[origin]) for origin in origins]
    client = threading.Thread(target=live)
    for thread in (client, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    client.join()
    return failures
