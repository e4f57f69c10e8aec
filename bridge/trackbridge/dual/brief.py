"""What a run says of its back ends when it ends, in a line for each: from their standings alone."""

from __future__ import annotations

import time
from pathlib import Path

from trackbridge.dual import place, standing
from trackbridge.dual.standing import Standing

LONGEST = 160
"""Characters of a reason that are shown."""


def short(folder: Path, sent: int | None = None, since: float = 0.0) -> list[str]:
    """A line for each back end of a run: what has arrived there, and what is left.

    `sent` is how many values were logged, where that is known; what a back end had of the run
    before second `since` says nothing. No back end is asked and no journal
    is read, so that a training that ends does not wait for it.
    """
    files = place.files(folder)
    told = place.header(files[-1]) if files else {}
    found = (standing.load(folder, store) for store in told.get("to", ()))
    return [
        f"{at.store}: {_line(at if at.updated >= since else Standing(at.store), sent)}"
        for at in found
    ]


def spread(values: list[float]) -> tuple[float, float, float] | None:
    """Median, 95th of a hundred and greatest of some numbers; none where there are none."""
    if not values:
        return None
    ordered = sorted(values)
    median, high = (ordered[min(len(ordered) - 1, int(len(ordered) * p))] for p in (0.5, 0.95))
    return median, high, ordered[-1]


def _line(at: Standing, sent: int | None) -> str:
    if at.state == "done" and (sent is None or sent <= at.points):
        lags = spread(at.lags)
        lag = f"; lag {lags[0]:.1f} s" if lags else ""
        return f"{at.points:,} of {at.points:,} values arrived and are equal{lag}"
    arrived = f"{at.points:,} values" if sent is None else f"{at.points:,} of {sent:,} values"
    if at.error:
        why = at.error if len(at.error) <= LONGEST else f"{at.error[: LONGEST - 3]}..."
        return f"{arrived} arrived; {_since(at)}{why} (`trackbridge replay` delivers what is left)"
    if at.state == "held":
        return f"{arrived} arrived; the run is shown once it is written whole"
    return f"{arrived} arrived; the rest is on its way (`trackbridge status`)"


def _since(at: Standing) -> str:
    if not at.outages or at.outages[-1][1] is not None:
        return ""
    return f"no answer since {time.strftime('%H:%M:%S', time.localtime(at.outages[-1][0]))}: "
