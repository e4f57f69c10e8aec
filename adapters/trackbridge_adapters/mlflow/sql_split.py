"""How the points of one run of a database are split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from trackbridge.adapter import Part, RunInfo
from trackbridge.cutting import Extent, cut
from trackbridge_adapters.mlflow.entities import SYSTEM, text
from trackbridge_adapters.mlflow.session import Session


def parts(session: Session, info: RunInfo, points: int) -> Sequence[Part]:
    """Parts of a run with roughly so many points each, or more: a key is never cut.

    The index that finds keys has their times before their steps, so that a range of steps takes
    going through all points of the key (measured: nine times as long as reading the range).
    How many a key has is guessed by its last step, which `latest_metrics` has: counting them would
    take about as long as reading them. None where that table is missing or does not say.
    """
    columns = ("key", "step")
    if not {"latest_metrics"} <= set(session.tables):
        return ()
    last: dict[str, int] = defaultdict(int)
    for key, step in session.select("latest_metrics", columns, "WHERE run_uuid = ?", [info.ref[1]]):
        garbled: list[str] = []
        name = (text(key, "", garbled) or "").removeprefix(SYSTEM)
        if garbled or not isinstance(step, int):
            return ()
        last[name] = max(last[name], step)
    density = info.points / max(1, sum(step + 1 for step in last.values()))
    return cut({key: Extent((step + 1) * density, 0, 0) for key, step in last.items()}, points)
