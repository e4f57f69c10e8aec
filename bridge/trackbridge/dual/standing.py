"""How far one back end is with one run: a small file beside the journal, replaced as a whole."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trackbridge.dual import place

LAGS = 2048
"""Lags that are kept; then every other one goes."""


@dataclass
class Standing:
    """The state of a delivery; all times are seconds since 1970.

    `state` is `new` (nothing was tried), `live` (rounds go on), `held` (what was logged cannot be
    shown before the run ends), `closing` (the run has ended, and is written whole) or `done`
    (proven).
    """

    store: str
    """Address of the back end, without secrets."""
    state: str = "new"
    position: str = ""
    """Up to which the journal was read, in the reader's own terms; for rounds alone."""
    points: int = 0
    """Values that rounds have sent, or that are proven in the end."""
    rows: int = 0
    """Rows that rounds have sent to a store of rows, and the last of them and its step."""
    row: int = -1
    step: int = -1
    waiting: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Values before the position that were not sent, since their step is not over: `by_step`."""
    left: int = 0
    """Values that rounds could not add to a store of rows, so that the end makes the run anew."""
    lags: list[float] = field(default_factory=list)
    """Seconds from a call to the answer of the back end, of a sample of values."""
    outages: list[list[Any]] = field(default_factory=list)
    """From, to (null: it lasts), and why."""
    contact: float = 0.0
    """When the back end has answered last."""
    asked: float = 0.0
    """Since when it is asked, and has not answered; 0 where nobody waits for it."""
    error: str = ""
    """What is wrong now, in one line; empty where nothing is."""
    proven: str = ""
    """Fingerprint of the journal that was written whole and proven."""
    losses: list[dict[str, Any]] = field(default_factory=list)
    """What the back end does not show, or shows as something else."""
    place: list[Any] = field(default_factory=list)
    """Where the run is in the back end: the parts of a `Twin`; empty before it was reached."""
    linked: list[list[Any]] | None = None
    """The twins that it names there, as it was told last; none where that may be gone."""
    damage: list[str] = field(default_factory=list)
    """What of the journal cannot be read."""
    updated: float = 0.0

    def is_proven(self, fingerprint: str) -> bool:
        """Whether all that is in the journal, which has this fingerprint now, was proven."""
        return self.state == "done" and self.proven == fingerprint

    def reached(self) -> None:
        """The back end has answered."""
        self.contact, self.error, self.asked = time.time(), "", 0.0
        if self.outages and self.outages[-1][1] is None:
            self.outages[-1][1] = self.contact

    def missed(self, why: str) -> None:
        """The back end has not answered, or has refused."""
        self.error, self.asked = why, 0.0
        if not self.outages or self.outages[-1][1] is not None:
            self.outages.append([time.time(), None, why])

    def restart(self) -> None:
        """The run has other rows now than rounds sent: the next one reads it from its start."""
        self.position, self.waiting, self.left = "", {}, 0
        self.rows, self.row, self.step = 0, -1, -1

    def add_lags(self, lags: list[float]) -> None:
        self.lags += [round(lag, 3) for lag in lags]
        while len(self.lags) > LAGS:
            self.lags = self.lags[::2]


def load(folder: Path, store: str) -> Standing:
    """The standing as it was saved; a new one where there is none that can be read."""
    try:
        told = json.loads(place.standing(folder, store).read_text())
        return Standing(**told)
    except (OSError, ValueError, TypeError):
        return Standing(store)


def every(folder: Path) -> Iterator[Standing]:
    """The standings of all back ends that have begun with a run."""
    for path in sorted((folder / place.DELIVERY).glob("*.json")):
        try:
            yield Standing(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            continue


def owed(folder: Path, named: Iterable[str]) -> list[str]:
    """Addresses that a run goes to: those named last, and earlier ones that lack some of it."""
    found = list(named)
    return found + [
        at.store for at in every(folder) if at.store not in found and at.state != "done"
    ]


def save(folder: Path, standing: Standing) -> None:
    """Put the standing in its place; raises `OSError`."""
    standing.updated = time.time()
    place.put(place.standing(folder, standing.store), json.dumps(asdict(standing)))
