"""Pieces of the points of one run, by the names of its metrics: where a store has no better ones.

The index that finds names has their times before their steps, so that a range of steps takes going
through all points of the name (measured: nine times as long as reading the range).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from trackbridge.adapter import RunInfo
from trackbridge_adapters.mlflow.session import Session


def by_key(session: Session, info: RunInfo, points: int) -> Sequence[str]:
    """Lists of names that have roughly so many points together, or one that has more.

    How many a name has is guessed by its last step, which `latest_metrics` has: counting them would
    take about as long as reading them. None where that table is missing.
    """
    latest = session.select(
        "latest_metrics", ("key", "step"), "WHERE run_uuid = ?", [info.ref.run_id]
    )
    steps = {key: max(step or 0, 0) + 1 for key, step in latest}
    most = points * sum(steps.values()) / max(1, info.points)
    return [json.dumps(names) for names in _together(steps, most)]


def keys_of(piece: str) -> list[str]:
    names: list[str] = json.loads(piece)
    return names


def _together(steps: dict[str, int], most: float) -> Iterator[list[str]]:
    names: list[str] = []
    held = 0
    for name, count in sorted(steps.items(), key=lambda item: (-item[1], item[0])):
        if names and held + count > most:
            yield names
            names, held = [], 0
        names.append(name)
        held += count
    if names:
        yield names
