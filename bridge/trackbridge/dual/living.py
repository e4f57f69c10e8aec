"""Whether the processes of a run still live, and what is written when they no longer do."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psutil

from trackbridge.dual import journaled, parts, place
from trackbridge.dual.journal import Journal, born, now

QUIET = 3600.0
"""Seconds without a word after which a process of another machine is taken to be gone."""
TOLERATED = 5.0
"""Seconds by which a process may seem to be younger than its journal: clocks are set."""


def is_alive(pid: int, began: float, birth: int | None = None) -> bool:
    """Whether the process of that id is the one that wrote in second `began`.

    `birth` is when it began, as it told itself (`journal.born`): the clock may have been set.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if birth is not None and (now := born(pid)) is not None:
            return now == birth
        return bool(process.create_time() <= began + TOLERATED)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def anybody(folder: Path) -> bool:
    """Whether any process of this machine that logs to a run lives."""
    return any(
        is_alive(told["pid"], told["at"] / 1e6, told.get("born"))
        for told in _headers(folder)
        if told.get("host") == place.host()
    )


def going(folder: Path, status: str | None) -> str:
    """Why more may come to a run that has this status; empty where nothing will."""
    if status != "running":
        return ""
    if anybody(folder):
        return "it goes on"
    others = {told.get("host") for told in _headers(folder)} - {place.host()}
    if others and time.time() - _written(folder) < QUIET:
        return (
            f"it may go on, on {', '.join(sorted(map(str, others)))}; it does not once nothing"
            f" was written for {QUIET / 60:.0f} minutes"
        )
    return ""


def status_of(folder: Path, status: str | None) -> str:
    """What a run is that has this status by its journal: crashed, if nothing more will come."""
    return "crashed" if status == "running" and not going(folder, status) else status or ""


def _written(folder: Path) -> float:
    """The second in which a run was written to last, by whichever process."""
    return max(path.stat().st_mtime for path in place.files(folder))


def _headers(folder: Path) -> list[dict[str, Any]]:
    """What the processes of a run said when they began to log."""
    headers = (place.header(path) for path in place.files(folder))
    return [told for told in headers if told and not told.get("marks")]


def mark_crashed(folder: Path) -> None:
    """Write down that a run ended without a word, unless it said that it ended.

    Its processes are gone; it ended when its journal was last written to.
    """
    if journaled.run_of(journaled.opened(folder)).status != "running":
        return
    told = place.latest_header(folder)
    names = ("run", "host", "by", "to", "cwd", "key")
    kept: dict[str, Any] = {name: told[name] for name in names if name in told}
    ended = int(_written(folder) * 1e6)
    journal = Journal(folder, {**kept, "marks": True, "ahead": parts.ahead(folder)})
    journal.record({"t": "end", "at": now(), "ended": ended, "status": "crashed"})
    journal.close()
