"""Traces written into a database of MLflow's, with spans and assessments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from trackbridge.adapter import Row
from trackbridge_adapters.mlflow import trace_fields
from trackbridge_adapters.mlflow.entities import milliseconds, native_tags, unpacked
from trackbridge_adapters.mlflow.experiments import Experiments
from trackbridge_adapters.mlflow.session import IN, Transaction
from trackbridge_adapters.mlflow.sql_traces import JUDGED, KIND, OWN

CHILDREN = {
    "span_metrics": "trace_id",
    "spans": "trace_id",
    "assessments": "trace_id",
    "trace_tags": "request_id",
    "trace_request_metadata": "request_id",
    "trace_metrics": "request_id",
}
"""Tables of what belongs to a trace, in the order in which it can be removed."""


class TraceWriter:
    """Traces on their way into a transaction; those of the same ids are replaced."""

    kind = KIND

    def __init__(self, transaction: Transaction, experiments: Experiments) -> None:
        self._transaction, self._experiments = transaction, experiments
        self._has_columns = "trace_name" in transaction.columns("trace_info")
        self._traces: dict[str, tuple[int, int]] = {}
        """Experiment and time of each trace, which its assessments repeat."""

    def places(self, ids: Sequence[str]) -> dict[str, str]:
        """Where the files of traces lie that are there."""
        where = f"WHERE \"key\" = '{trace_fields.LOCATION_TAG}' AND request_id {IN}"
        columns, values = ["request_id", "value"], [json.dumps(list(ids))]
        return dict(self._transaction.select("trace_tags", columns, where, values))

    def add(self, table: str, rows: Sequence[Row]) -> None:
        """Rows of one of the tables, those of `traces` first."""
        make = {"traces": self._infos, "spans": self._spans, "assessments": self._assessments}
        make[table](rows)

    def place(self, folders: Mapping[str, str]) -> None:
        """Say where the files of traces lie."""
        rows = [
            {"request_id": trace, "key": trace_fields.LOCATION_TAG, "value": folder}
            for trace, folder in folders.items()
        ]
        self._transaction.insert("trace_tags", rows)

    def _infos(self, rows: Sequence[Row]) -> None:
        transaction, ids = self._transaction, [row["trace_id"] for row in rows]
        for table, column in CHILDREN.items():
            transaction.delete(table, column, ids)
        transaction.delete("entity_associations", "source_id", ids, "AND source_type = 'trace'")
        transaction.delete("trace_info", "request_id", ids)
        pairs: dict[str, list[Row]] = {t: [] for t in CHILDREN if t.startswith("trace_")}
        infos, links = [], []
        for row in rows:
            more = unpacked(row["extra"])
            infos.append(self._info(row, more, pairs))
            links += [_link(row["trace_id"], link) for link in more.get("links", [])]
        transaction.insert("trace_info", infos)
        for table, native in pairs.items():
            transaction.insert(table, native)
        transaction.insert("entity_associations", links)

    def _info(self, row: Row, more: Mapping[str, Any], pairs: dict[str, list[Row]]) -> Row:
        trace = row["trace_id"]
        number = self._experiments.find(row["project"]).number
        began = milliseconds(row["started"])
        began = more.get("timestamp_ms", 0) if began is None else began
        self._traces[trace] = number, began
        tags, metadata = native_tags(row["tags"]), native_tags(row["metadata"])
        metrics = dict(more.get("metrics", {}))
        columns: dict[str, Any] = {}
        if self._has_columns:
            columns = trace_fields.native_columns(tags, metadata)
        else:
            metrics |= trace_fields.token_metrics(metadata)
        for table, values in (
            ("trace_tags", tags),
            ("trace_request_metadata", metadata),
            ("trace_metrics", metrics),
        ):
            pairs[table] += [{"request_id": trace, "key": k, "value": v} for k, v in values.items()]
        return {
            "request_id": trace,
            "experiment_id": number,
            "timestamp_ms": began,
            "status": row["status"],
            "db_payload_generation": more.get("generation", 0),
            **{name: more.get(name) for name in OWN},
            **columns,
        }

    def _spans(self, rows: Sequence[Row]) -> None:
        natives, measured = [], []
        for row in rows:
            more = unpacked(row["extra"])
            native = self._span(row, more)
            metrics = dict(more.get("metrics", {}))
            costs = {name: more.get(name) for name in trace_fields.COST_COLUMNS}
            if self._has_columns:
                native.update(costs)
            else:
                metrics |= {name: cost for name, cost in costs.items() if cost is not None}
            natives.append(native)
            owner = {"trace_id": row["trace_id"], "span_id": row["span_id"]}
            measured += [{**owner, "key": key, "value": v} for key, v in metrics.items()]
        self._transaction.insert("spans", natives)
        self._transaction.insert("span_metrics", measured)

    def _span(self, row: Row, more: Mapping[str, Any]) -> Row:
        model, provider = more.get("model_name"), more.get("model_provider")
        told = {trace_fields.MODEL: model, trace_fields.PROVIDER: provider}
        told = {name: value for name, value in told.items() if value is not None}
        return {
            "trace_id": row["trace_id"],
            "experiment_id": self._traces[row["trace_id"]][0],
            "span_id": row["span_id"],
            "parent_span_id": row["parent_id"],
            "name": row["name"],
            "type": row["kind"],
            "status": row["status"],
            "start_time_unix_nano": more.get("start_ns"),
            "end_time_unix_nano": more.get("end_ns"),
            "content": row["payload"],
            "dimension_attributes": json.dumps(told) if told else None,
            "model_name": model,
            "model_provider": provider,
        }

    def _assessments(self, rows: Sequence[Row]) -> None:
        self._transaction.insert("assessments", list(map(self._assessment, rows)))

    def _assessment(self, row: Row) -> Row:
        more = unpacked(row["extra"])
        number, began = self._traces[row["trace_id"]]
        value, numeric = trace_fields.aggregate(row["value"])
        return {
            "assessment_id": row["assessment_id"],
            "trace_id": row["trace_id"],
            "name": row["name"],
            "assessment_type": row["kind"],
            "value": row["value"],
            "created_timestamp": milliseconds(row["created"]),
            "last_updated_timestamp": milliseconds(row["updated"]),
            "experiment_id": number,
            "trace_timestamp_ms": began,
            "aggregate_value": value,
            "is_numeric_value": numeric,
            "span_id": row["span_id"],
            **{name: more.get(name) for name in JUDGED},
            "valid": more.get("valid", True),
            "assessment_metadata": more.get("metadata"),
        }


def _link(trace: str, link: Sequence[Any]) -> Row:
    kind, name, created, number = link
    return {
        "association_id": number,
        "source_type": "trace",
        "source_id": trace,
        "destination_type": kind,
        "destination_id": name,
        "created_time": created,
    }
