"""How far deliveries are, from what forwarders have written down: `trackbridge status`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trackbridge.dual import spawn, standing
from trackbridge.dual.brief import spread
from trackbridge.dual.journaled import opened, run_of, unreadable
from trackbridge.dual.parts import latest_header, parts
from trackbridge.dual.replay import folders, status_of
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
    """See `Standing`; `stopped` where something is left and nobody is at work with it.

    `local` where the run names no store.
    """
    delivered: int
    lag: float | None
    """Seconds, the median."""
    error: str
    run_id: str = ""
    """Its id there, as people see it; empty before it was reached."""
    url: str | None = None
    """The page that shows it there, if there is one."""
    waiting: float | None = None
    """Seconds since it is asked, and has not answered; none where nobody waits for it."""


def status(journals: Iterable[str | Path] = ()) -> Iterator[Status]:
    """The status of every run and back end; back ends are not asked."""
    for folder in folders(journals):
        try:
            told, info = latest_header(parts(folder)), run_of(opened(folder))
        except (BridgeError, OSError) as error:
            yield Status(folder.name, "", "", 0, "", "unreadable", 0, None, unreadable(error))
            continue
        status, tended = status_of(folder, info.status), spawn.is_tended(told)
        run = "/".join(info.ref), info.name or "", status, info.points
        stores = standing.owed(folder, told.get("to", ()))
        stores = stores or [at.store for at in standing.every(folder)]  # it names them no more
        if not stores:
            yield Status(*run, "", "local", 0, None, "")
        for store in stores:
            at = standing.load(folder, store)
            lags = spread(at.lags)
            run_id, url = at.place[2:4] or ("", None)
            yield Status(
                *run,
                store,
                _state(at, info.fingerprint, tended),
                at.points,
                lags[0] if lags else None,
                at.error,
                run_id,
                url,
                max(0.0, time.time() - at.asked) if tended and at.asked else None,
            )


def _state(at: Standing, fingerprint: str, tended: bool) -> str:
    if at.is_proven(fingerprint):
        return "done"
    if not tended:
        return "stopped"
    return "new" if at.state == "done" else at.state  # it goes on, and nothing was tried yet
