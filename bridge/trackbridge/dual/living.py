"""Whether the processes of a run still live, and what is written when they no longer do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil

from trackbridge.adapter import Query
from trackbridge.dual import place
from trackbridge.dual.journal import Journal, now
from trackbridge.registry import open_reader

TOLERATED = 5.0
"""Seconds by which a process may seem to be younger than its journal: clocks are set."""


def is_alive(pid: int, began: float) -> bool:
    """Whether the process of that id is the one that wrote in second `began`."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return bool(process.create_time() <= began + TOLERATED)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def anybody(folder: Path) -> bool:
    """Whether any process that logs to a run lives; they are all on this machine."""
    headers = (place.header(path) for path in place.files(folder))
    return any(
        is_alive(told["pid"], told["at"] / 1e6)
        for told in headers
        if told and not told.get("marks")
    )


def mark_crashed(folder: Path) -> None:
    """Write down that a run ended without a word, unless it said that it ended.

    Its processes are gone; it ended when its journal was last written to.
    """
    reader = open_reader(f"journal:{folder}")
    if all(info.status != "running" for info in reader.list_runs(Query())):
        return
    last = place.files(folder)[-1]
    told = place.header(last)
    names = ("run", "host", "by", "to", "cwd", "key")
    kept: dict[str, Any] = {name: told[name] for name in names if name in told}
    ended = last.stat().st_mtime_ns // 1000
    journal = Journal(folder, {**kept, "marks": True})
    journal.record({"t": "end", "at": now(), "ended": ended, "status": "crashed"})
    journal.close()
