"""What changes in a database of MLflow's when a run changes, summed up without reading it."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from trackbridge_adapters.mlflow.entities import (
    ABANDONED_TAG,
    KEY_TAG,
    PENDING_TAG,
    RUN_NAME,
    STORE_TAG,
    TWINS_TAG,
)
from trackbridge_adapters.mlflow.session import Session

COUNTED = (
    # table, column with the run's id, numbers
    ("latest_metrics", "run_uuid", "count(*), max(timestamp), max(step)"),
    ("params", "run_uuid", "count(*), sum(length(value))"),
    ("inputs", "destination_id", "count(*)"),
    ("inputs", "source_id", "count(*)"),
)
MODEL = (
    "source_run_id",
    "model_id",
    "artifact_location",
    "name",
    "creation_timestamp_ms",
    "last_updated_timestamp_ms",
    "status",
    "status_message",
    "model_type",
    "lifecycle_stage",
)
POINTS = "count(*), sum(metric_value), sum(metric_step), max(metric_timestamp_ms)"

SHOWN = frozenset({KEY_TAG, RUN_NAME, PENDING_TAG, ABANDONED_TAG, STORE_TAG, TWINS_TAG})
"""Tags that a listing needs."""

States = dict[str, list[Any]]
"""By run: anything that JSON can hold."""


def runs(session: Session, where: str, values: Sequence[str]) -> States:
    """Numbers of each run; `where` is a condition on its id, or nothing."""
    found: States = defaultdict(list)
    for table, column, numbers in COUNTED:
        if table in session.tables:
            query = f"SELECT {column}, {numbers} FROM {table} {_rest(column, where)}"
            for run, *state in session.fetch(f"{query} GROUP BY {column}", values):
                found[run].append([table, *state])
    return found


def tags(session: Session, where: str, values: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Of each run: the tags that a listing needs, and a sum over all but that of its twins."""
    found: dict[str, dict[str, Any]] = defaultdict(lambda: {"": 0})
    columns = ("run_uuid", "key", "value")
    for run, key, value in session.select("tags", columns, _rest("run_uuid", where), values):
        own = found[run]
        if key != TWINS_TAG:
            own[""] += _mark(key, value)
        if key in SHOWN:
            own[key] = value
    return found


def models(session: Session, where: str, values: Sequence[str]) -> States:
    """The logged models that each run has made: id, place, and the rest that may change."""
    found: States = defaultdict(list)
    meant = "model_id", ""
    if where:
        made = f"SELECT model_id FROM logged_models WHERE source_run_id {where}"
        meant = "model_id", f"IN ({made})"
    rest = _rest(*meant)
    sums: dict[str, list[float]] = defaultdict(lambda: [0, 0])
    for number, kind in enumerate(("tag", "param")):
        columns = ("model_id", f"{kind}_key", f"{kind}_value")
        for model, *pair in session.select(f"logged_model_{kind}s", columns, rest, values):
            sums[model][number] += _mark(*pair)
    if "logged_model_metrics" in session.tables:
        query = f"SELECT model_id, {POINTS} FROM logged_model_metrics {rest} GROUP BY model_id"
        for model, *numbers in session.fetch(query, values):
            sums[model] += numbers
    order = f"{_rest('source_run_id', where)} ORDER BY model_id"
    for run, model, place, *native in session.select("logged_models", MODEL, order, values):
        found[run].append([model, place, native, sums[model]])
    return found


def _rest(column: str, where: str) -> str:
    return f"WHERE {column} {where}" if where else ""


def _mark(key: Any, value: Any) -> int:
    return zlib.crc32(f"{key}\0{value}".encode("utf-8", "surrogateescape"))
