"""What a chunk of runs has to be, by whatever lane it goes into MLflow.

`store` is what messages call the target. Everything raises `IntegrityError`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trackbridge.adapter import Row, RunKey, RunRef
from trackbridge.errors import IntegrityError

Keys = Mapping[RunRef, RunKey]
"""The runs of a chunk."""


def check_distinct(store: object, keys: Keys) -> None:
    """Refuse two runs that would have the same id."""
    if len({ref.run_id for ref in keys}) < len(keys):
        raise IntegrityError(f"{store}: two runs of the chunk would have the same id")


def check_meant(store: object, run: RunRef, keys: Keys) -> None:
    """Refuse a file of a run that is not being written."""
    if run not in keys:
        raise IntegrityError(f"{store}: run {run.run_id} is not in this chunk")


def check_origin(store: object, run_id: str, there: str | None, ours: str) -> None:
    """Refuse an id whose run has another key than ours, or none."""
    if there != ours:
        origin = f"came from {there}" if there else "was not written by Trackbridge"
        raise IntegrityError(f"{store}: run {run_id} is there already and {origin}; not replaced")


def by_run(store: object, rows: Sequence[Row], keys: Keys) -> dict[RunRef, Row]:
    """The rows of `runs`, of which each run has one."""
    found = {RunRef(row["project"], row["run_id"]): row for row in rows}
    if found.keys() != keys.keys() or len(found) < len(rows):
        raise IntegrityError(f"{store}: a chunk must have one row in runs for each run")
    return found
