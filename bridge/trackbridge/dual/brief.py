"""What a run says of its back ends when it ends, in a line for each: from their standings alone."""

from __future__ import annotations

import time
from pathlib import Path

from trackbridge.dual import place, standing
from trackbridge.dual.standing import Standing

LONGEST = 160
"""Characters of a reason that are shown."""


def short(folder: Path) -> list[str]:
    """A line for each back end of a run: what has arrived there, and what is left.

    No back end is asked and no journal is read, so that a training that ends does not wait for it.
    """
    told = place.latest_header(folder)
    now = place.fingerprint(folder)
    standings = (standing.load(folder, store) for store in told.get("to", ()))
    return [f"{at.store}: {_line(at, is_whole=at.is_proven(now))}" for at in standings]


def spread(values: list[float]) -> tuple[float, float, float] | None:
    """Median, 95th of a hundred and greatest of some numbers; none where there are none."""
    if not values:
        return None
    ordered = sorted(values)
    median, high = (ordered[min(len(ordered) - 1, int(len(ordered) * p))] for p in (0.5, 0.95))
    return median, high, ordered[-1]


def _line(at: Standing, *, is_whole: bool) -> str:
    arrived = f"{at.points:,} values arrived"
    if is_whole:
        lags = spread(at.lags)
        lag = f"; lag {lags[0]:.1f} s" if lags else ""
        damage = f"; the journal is not whole: {at.damage[0]}" if at.damage else ""
        return f"all {at.points:,} values arrived and are equal{lag}{damage}"
    if at.error:
        why = at.error if len(at.error) <= LONGEST else f"{at.error[: LONGEST - 3]}..."
        return f"{arrived}; {_since(at)}{why} (`trackbridge status` has more)"
    if at.state == "held":
        return f"{arrived}; the run is shown once it is written whole"
    if at.state == "closing":
        return f"{arrived}; the run is being written whole and proven (`trackbridge status`)"
    return f"{arrived}; the rest is on its way (`trackbridge status`)"


def _since(at: Standing) -> str:
    if not at.outages or at.outages[-1][1] is not None:
        return ""
    return f"no answer since {time.strftime('%H:%M:%S', time.localtime(at.outages[-1][0]))}: "
