"""What is in a database of MLflow's and is not moved: counted, table by table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trackbridge.adapter import Query
from trackbridge_adapters.mlflow import storage
from trackbridge_adapters.mlflow.session import CORE_TABLES, Session
from trackbridge_adapters.mlflow.trace_fields import LOCATION_TAG

MOVED = CORE_TABLES | {
    "assessments",
    "datasets",
    "evaluation_dataset_records",
    "evaluation_dataset_tags",
    "evaluation_datasets",
    "experiment_tags",
    "input_tags",
    "inputs",
    "logged_model_metrics",
    "logged_model_params",
    "logged_model_tags",
    "logged_models",
    "model_version_tags",
    "model_versions",
    "registered_model_aliases",
    "registered_model_tags",
    "registered_models",
    "scorer_versions",
    "scorers",
    "span_metrics",
    "spans",
    "trace_info",
    "trace_metrics",
    "trace_request_metadata",
    "trace_tags",
}
"""Tables whose rows are read into the run model."""

DERIVED = frozenset(
    {
        "alembic_version",  # the revision
        "latest_metrics",  # the last point of each metric
        "sql_assessment_daily_rollups",
        "sql_span_cost_daily_rollups",
        "sql_trace_metric_daily_rollups",
        "sql_trace_rollup_rebuild_queue",  # all four are computed from traces
    }
)
"""Tables that follow from others, or from MLflow itself."""

IN_PART = frozenset({"entity_associations", "workspaces"})
"""Tables of which some rows or columns are moved: what is not is named in other words."""

SETTINGS = (
    "description",
    "default_artifact_root",
    "trace_archival_location",
    "trace_archival_retention",
)
"""Columns of `workspaces` that are not moved; the names are, with what is in them."""

WORDS = {"secrets": "secrets (encrypted)"}
"""Names for people, of tables whose own name says too little."""

CARRIED = (
    "(source_type = 'trace')"
    " OR (source_type = 'evaluation_dataset' AND destination_type = 'experiment')"
)
"""The rows of `entity_associations` that are moved, with what they start from."""


def counted(session: Session, query: Query, home: Path) -> Mapping[str, int]:
    """Rows of every table that nobody reads, by the table's name; of others what stays behind."""
    found: dict[str, int] = {}
    left = session.tables - MOVED - DERIVED - IN_PART
    for table in sorted(name for name in left if not name.startswith("sqlite_")):
        found[WORDS.get(table, table)] = _number(session, f'SELECT count(*) FROM "{table}"')
    if "workspaces" in session.tables:
        known = [f'"{c}" IS NOT NULL' for c in SETTINGS if c in session.columns("workspaces")]
        set_ = f"SELECT count(*) FROM workspaces WHERE name <> 'default' AND ({' OR '.join(known)})"
        found["settings of workspaces"] = _number(session, set_) if known else 0
    if "entity_associations" in session.tables:
        query_others = f"SELECT count(*) FROM entity_associations WHERE NOT ({CARRIED})"
        found["entity_associations of other kinds"] = _number(session, query_others)
    found["files of traces that lie elsewhere"] = _elsewhere(session, home)
    return {name: number for name, number in found.items() if number}


def _elsewhere(session: Session, home: Path) -> int:
    """Traces whose spans are a file that is not moved: in a store, or behind an unknown server."""
    where = (
        f"WHERE \"key\" = '{LOCATION_TAG}' AND NOT EXISTS (SELECT 1 FROM trace_tags s"
        " WHERE s.request_id = trace_tags.request_id AND s.\"key\" = 'mlflow.trace.spansLocation')"
    )
    places = session.select("trace_tags", ["value"], where)
    return sum(storage.is_store(place) or storage.find(place, home) is None for (place,) in places)


def _number(session: Session, query: str) -> int:
    rows: list[tuple[Any, ...]] = session.fetch(query)
    return int(rows[0][0])
