"""How far deliveries are, from what forwarders have written down: `trackbridge status`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trackbridge.dual import living, place, spawn, standing
from trackbridge.dual.replay import folders, run_of
from trackbridge.dual.standing import Standing
from trackbridge.errors import BridgeError


@dataclass(frozen=True)
class Status:
    """One run and one of its back ends."""

    run: str
    name: str
    status: str
    """Of the run: running, finished, ..."""
    logged: int
    """Values in the journal."""
    store: str
    state: str
    """See `Standing`; `stopped` where something is left and nobody is at work with it."""
    delivered: int
    lag: float | None
    """Seconds, the median."""
    error: str
    run_id: str = ""
    """Its id there, as people see it; empty before it was reached."""
    url: str | None = None
    """The page that shows it there, if there is one."""


def status(journals: Iterable[str | Path] = ()) -> Iterator[Status]:
    """The status of every run and back end; back ends are not asked."""
    for folder in folders(journals):
        try:
            told, info = place.latest_header(folder), run_of(folder)
        except (BridgeError, OSError) as error:
            yield Status(folder.name, "", "", 0, "", "unreadable", 0, None, str(error))
            continue
        has_stopped = info.status == "running" and not living.going(folder, info.status)
        tended = bool(told.get("by")) and spawn.is_running(told["by"])
        for store in told.get("to", ()):
            at = standing.load(folder, store)
            state = _state(at, info.fingerprint, tended)
            lags = sorted(at.lags)
            lag = lags[len(lags) // 2] if lags else None
            yield Status(
                "/".join(info.ref),
                info.name or "",
                "crashed" if has_stopped else info.status or "",
                info.points,
                store,
                state,
                at.points,
                lag,
                at.error,
                *at.place[2:4],
            )


def _state(at: Standing, fingerprint: str, tended: bool) -> str:
    if at.state == "done" and at.proven == fingerprint:
        return "done"
    if not tended:
        return "stopped"
    return "new" if at.state == "done" else at.state  # it goes on, and nothing was tried yet
