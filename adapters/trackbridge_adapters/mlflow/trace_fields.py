"""What MLflow keeps of traces in other places from revision to revision, in one form.

Since 3.16 (revision 75868b020152) the name, the session, token counts and costs of a trace, and
costs and model of a span, are columns; before, they were tags, metadata and metrics, and MLflow's
own migration moves them. The run model has the tags and metadata that MLflow's client shows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

NAME_TAG = "mlflow.traceName"
LOCATION_TAG = "mlflow.artifactLocation"
SESSION = "mlflow.trace.session"
TOKENS = "mlflow.trace.tokenUsage"
COSTS = "mlflow.trace.cost"
SOURCE_RUN = "mlflow.sourceRun"
"""mlflow/tracing/constant.py, mlflow/utils/mlflow_tags.py (3.17)."""

TOKEN_COLUMNS = (
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cache_creation_input_tokens_above_1hr",
)
COST_COLUMNS = ("input_cost", "output_cost", "total_cost")
"""Columns are called like the keys in the JSON (store/tracking/utils/trace_analytics.py, 3.17)."""

ANALYTICS = ("trace_name", "session_id", *TOKEN_COLUMNS, *COST_COLUMNS)
MODEL, PROVIDER = "mlflow.llm.model", "mlflow.llm.provider"
"""Keys of `spans.dimension_attributes`, before there were columns."""

LONGEST = {"trace_name": 4096, "session_id": 250}


def shown_metadata(
    kept: Mapping[str, str | None], columns: Mapping[str, Any], metrics: Mapping[str, float | None]
) -> dict[str, str | None]:
    """The metadata of a trace out of its rows, its columns and, before 3.16, its metrics."""
    metadata = dict(kept)
    if columns.get("session_id") is not None:
        metadata.setdefault(SESSION, columns["session_id"])
    for key, names in ((TOKENS, TOKEN_COLUMNS), (COSTS, COST_COLUMNS)):
        values = {name: columns[name] for name in names if columns.get(name) is not None}
        if values:
            metadata.setdefault(key, json.dumps(values))
    counted = {n: int(metrics[n] or 0) for n in TOKEN_COLUMNS if metrics.get(n) is not None}
    told = _tokens(metadata.get(TOKENS))
    if counted and {**told, **counted} != told:
        merged = {**told, **counted}
        metadata[TOKENS] = json.dumps({n: merged[n] for n in TOKEN_COLUMNS if n in merged})
    return metadata


def native_columns(
    tags: dict[str, str | None], metadata: dict[str, str | None]
) -> dict[str, int | float | str | None]:
    """The columns of a trace, taken out of its tags and metadata.

    What a column says in another way stays in its row too: MLflow shows the column, and we the row.
    """
    columns: dict[str, Any] = dict.fromkeys(ANALYTICS)
    for column, key, rows in (
        ("trace_name", NAME_TAG, tags),
        ("session_id", SESSION, metadata),
    ):
        value = rows.get(key)
        if value is not None:
            columns[column] = value[: LONGEST[column]]
            if columns[column] == value:
                del rows[key]
    tokens, costs = _tokens(metadata.get(TOKENS)), _costs(metadata.get(COSTS))
    for key, values in ((TOKENS, tokens), (COSTS, costs)):
        columns.update(values)
        if values and metadata.get(key) == json.dumps(values):
            del metadata[key]
    return columns


def token_metrics(metadata: Mapping[str, str | None]) -> dict[str, float]:
    """The rows of `trace_metrics` as revisions before 3.16 have them."""
    return {name: float(value) for name, value in _tokens(metadata.get(TOKENS)).items()}


def aggregate(value: str) -> tuple[float | None, bool]:
    """`aggregate_value` and `is_numeric_value` of an assessment (`assessment_aggregate`, 3.17)."""
    told = _parsed(value)
    if isinstance(told, bool):
        return float(told), False
    if isinstance(told, (int, float)):
        number = _finite(told)
        return number, number is not None
    if isinstance(told, str) and told.strip().lower() in ("yes", "no"):
        return float(told.strip().lower() == "yes"), False
    return None, False


def _tokens(text: str | None) -> dict[str, int]:
    usage = _object(text)
    counts = {name: usage[name] for name in TOKEN_COLUMNS if name in usage}
    return {
        name: int(value)
        for name, value in counts.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
        if math.isfinite(value) and value == int(value) and abs(value) < 2**63
    }


def _costs(text: str | None) -> dict[str, float]:
    costs = _object(text)
    found = {name: _finite(costs[name]) for name in COST_COLUMNS if name in costs}
    return {name: value for name, value in found.items() if value is not None}


def _finite(value: Any) -> float | None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _object(text: str | None) -> dict[str, Any]:
    value = _parsed(text)
    return value if isinstance(value, dict) else {}


def _parsed(text: str | None) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None
