"""The end of a run: what it ended with, and a moment's patience with back ends that answer."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trackbridge.dual import place
from trackbridge.dual.records import is_int

ANSWERING = 10.0
"""Seconds within which a back end has to have answered to be waited for."""
WAIT_SECONDS = 5.0
POLL = 0.1
STATUSES = ("finished", "failed", "killed", "crashed")
"""Those that a run may end with."""


def exit_code(error: BaseException | None) -> int:
    """What a program that ends with an error exits with."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 130 if isinstance(error, KeyboardInterrupt) else int(error is not None)


def code(told: Any) -> int | None:
    """What was told as an exit code; what is no number is 1, as it is to Python."""
    if told is None:
        return None
    try:
        number = int(told)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return 1
    return number if is_int(number) else 1


def status(told: str | None, exit_code: int | None) -> str:
    """The status that was told, if it is one; else by the exit code."""
    by_code = "failed" if exit_code else "finished"
    named = str(told).lower()
    return named if named in STATUSES else by_code


def wait(folder: Path, stores: Sequence[str], seconds: float | None, since: float) -> None:
    """Wait until everything is delivered, but no longer than for so many seconds.

    Where nobody has said how long, back ends that have not answered lately, and since second
    `since`, are not waited for: a training ends when it ends.
    """
    end = time.monotonic() + (WAIT_SECONDS if seconds is None else seconds)
    latest = since if seconds is None else None
    while time.monotonic() < end and any(_is_awaited(folder, store, latest) for store in stores):
        time.sleep(POLL)


def _is_awaited(folder: Path, store: str, since: float | None) -> bool:
    """Whether a back end has not everything yet, and has answered lately if that counts.

    Read here, since a program that ends must load no more modules: one that evaluates a text, as
    data classes do, makes Python forget that it was interrupted, and the exit code another one.
    """
    try:
        at = json.loads(place.standing(folder, store).read_text())
        if at["state"] == "done" and at["proven"] == place.fingerprint(folder):
            return False
        if since is None:
            return True
        return bool(not at["error"] and at["contact"] > max(since, time.time() - ANSWERING))
    except (OSError, ValueError, KeyError, TypeError):
        return since is None
