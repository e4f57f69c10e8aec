"""Traces of a file store as items, with their assessments; the spans are one of their files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from trackbridge.adapter import Batch, ItemRef, Query, Row
from trackbridge.columns import batches
from trackbridge.optional import ItemInfo
from trackbridge_adapters.mlflow import folders, storage, trace_fields
from trackbridge_adapters.mlflow.entities import micros, moment, packed, text
from trackbridge_adapters.mlflow.folders import Experiment
from trackbridge_adapters.mlflow.sql_traces import KIND, OWN, files, files_there

FOLDER = "traces"
INFO = "trace_info.yaml"
METADATA, TAGS, ASSESSMENTS, ARTIFACTS = "request_metadata", "tags", "assessments", "artifacts"
"""What is where (store/tracking/file_store.py, `_save_trace_info`, 3.17; the same since 2.14)."""

VALUES = ("feedback", "expectation", "issue")
"""Kinds of assessments, by the field that has the value (entities/assessment.py, 3.17)."""

NO_ERROR: Row = dict.fromkeys(("error_code", "error_message", "stack_trace"))
JUDGED_BY = "mlflow.assessment.sourceRunId"
"""Metadata of an assessment: the run that made it (tracing/constant.py, 3.17)."""


def listed(root: Path, query: Query, ids: Collection[str] | None, home: Path) -> Iterator[ItemInfo]:
    """The traces that a query means, experiment by experiment."""
    for experiment in folders.experiments(root):
        if (query.projects and experiment.label not in query.projects) or (
            experiment.deleted and not query.include_deleted
        ):
            continue
        for folder in _folders(experiment):
            if ids is None or folder.name in ids:
                info = _listed(ItemRef(KIND, experiment.label, folder.name), folder, home)
                if _is_meant(query, info):
                    yield info


def read(root: Path, refs: Sequence[ItemRef], home: Path) -> Iterator[Batch]:
    """The rows of some traces, files last."""
    wanted = {(ref.project, ref.id): ref for ref in refs}
    found = [
        (wanted[experiment.label, folder.name], folder)
        for experiment in folders.experiments(root)
        for folder in _folders(experiment)
        if (experiment.label, folder.name) in wanted
    ]
    yield from batches(KIND, [_row(ref, folder) for ref, folder in found])
    yield from batches("assessments", [row for item in found for row in _assessments(*item)])
    filed = files((_location(folder) for _, folder in found), home)
    rows = (
        {"project": ref.project, "kind": KIND, "item_id": ref.id, "path": path, "size": size}
        for (ref, _), entries in zip(found, filed)
        for path, size, _ in entries
    )
    yield from batches("item_files", rows)


def storage_of(root: Path, ref: ItemRef, home: Path) -> storage.Storage | None:
    """Where the files of a trace lie."""
    for experiment in folders.experiments(root):
        folder = experiment.path / FOLDER / ref.id
        if experiment.label == ref.project and folder.is_dir():
            return storage.find(_location(folder), home)
    return None


def _location(folder: Path) -> str | None:
    """Beside what is said of a trace, unless its experiment has its files elsewhere."""
    own = folder / ARTIFACTS
    if own.is_dir():
        return str(own)
    return dict(folders.values(folder / TAGS, "", [])).get(trace_fields.LOCATION_TAG)


def unreadable(experiment: Experiment) -> dict[str, int]:
    """What is there of traces that does not say what it is: MLflow fails at it, or passes it by."""
    found, there = _folders(experiment), folders.subfolders(experiment.path / FOLDER)
    judged = sum(1 for folder in found for _ in folders.files(folder / ASSESSMENTS))
    read = sum(1 for folder in found for _ in _assessments(ItemRef(KIND, "", ""), folder))
    return {
        "traces that cannot be read": len(there) - len(found),
        "assessments that cannot be read": judged - read,
    }


def _folders(experiment: Experiment) -> list[Path]:
    found = folders.subfolders(experiment.path / FOLDER)
    return [folder for folder in found if _time(_info(folder)) is not None]


def _is_meant(query: Query, info: ItemInfo) -> bool:
    return (not query.run_ids or info.run_id in query.run_ids) and (
        query.since is None or (info.started is not None and info.started >= query.since)
    )


def _listed(ref: ItemRef, folder: Path, home: Path) -> ItemInfo:
    state = []
    for name, path in folders.files(folder):
        with suppress(OSError):
            there = os.stat(path)  # noqa: PTH116 - for thousands of small files
            state.append((name, there.st_size, there.st_mtime_ns))
    content = json.dumps([state, files_there([_location(folder)], home)])
    judged = sum(name.startswith(f"{ASSESSMENTS}/") for name, _, _ in state)
    run = dict(folders.values(folder / METADATA, "", [])).get(trace_fields.SOURCE_RUN)
    fingerprint = hashlib.sha256(content.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return ItemInfo(ref, fingerprint, 1 + judged, moment(_time(_info(folder))), run)


def _info(folder: Path) -> dict[str, Any]:
    return folders.read_yaml(folder / INFO, "", [])


def _time(info: dict[str, Any]) -> int | None:
    """When a trace began: milliseconds since 3.0 as text, before that as a number."""
    return _milliseconds(info.get("request_time", info.get("timestamp_ms")))


def _milliseconds(value: Any) -> int | None:
    if isinstance(value, str):
        with suppress(ValueError):  # RFC 3339, in UTC, with 0, 3, 6 or 9 digits of a second
            whole, _, rest = value.removesuffix("Z").partition(".")
            seconds = int(datetime.fromisoformat(f"{whole}+00:00").timestamp())
            return seconds * 1000 + int(rest.ljust(3, "0")[:3])
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _row(ref: ItemRef, folder: Path) -> Row:
    info, tags = _info(folder), dict(folders.values(folder / TAGS, "", []))
    metadata = dict(folders.values(folder / METADATA, "", []))
    began = _time(info) or 0
    took = info.get("execution_duration_ms", info.get("execution_time_ms"))
    more = {**{name: info.get(name) for name in OWN}, "execution_time_ms": took}
    return {
        "project": ref.project,
        "trace_id": ref.id,
        "run_id": metadata.get(trace_fields.SOURCE_RUN),
        "started": micros(began, "", []),
        "ended": micros(began + (took or 0), "", []),
        "status": info.get("state", info.get("status")),
        "source": tags.pop(trace_fields.LOCATION_TAG, None),
        "tags": packed(tags),
        "metadata": packed(metadata),
        "extra": packed({name: value for name, value in more.items() if value is not None}),
    }


def _assessments(ref: ItemRef, folder: Path) -> Iterator[Row]:
    """Those that say what was judged; what was cut off or says something else is `unreadable`."""
    for name, path in folders.files(folder / ASSESSMENTS):
        told = folders.read_yaml(path, "", [])
        kind = next((kind for kind in VALUES if isinstance(told.get(kind), dict)), None)
        if kind is None or not told.get("assessment_name"):
            continue
        try:
            row = _judgement(told, kind)
        except (AttributeError, KeyError, TypeError, ValueError):  # of another form than MLflow's
            continue
        label = {"project": ref.project, "trace_id": ref.id}
        yield {**label, "assessment_id": name.removesuffix(".yaml"), **row}


def _judgement(told: dict[str, Any], kind: str) -> Row:
    source, value = told.get("source") or {}, told[kind]
    more = {
        "error": json.dumps({**NO_ERROR, **value["error"]}) if value.get("error") else None,
        "source_type": source.get("source_type"),
        "source_id": source.get("source_id"),
        "run_id": (told.get("metadata") or {}).get(JUDGED_BY),
        "rationale": told.get("rationale"),
        "overrides": told.get("overrides"),
        "valid": False if told.get("valid") is False else None,
        "metadata": json.dumps(told["metadata"]) if told.get("metadata") else None,
    }
    number = told.get("assessment_id")
    return {
        **({"assessment_id": text(number, "", [])} if number else {}),
        "span_id": text(told.get("span_id"), "", []),
        "name": text(told.get("assessment_name"), "", []),
        "kind": kind,
        "value": _value(kind, value),
        "created": _micros(told.get("create_time")),
        "updated": _micros(told.get("last_update_time")),
        "extra": packed({name: value for name, value in more.items() if value is not None}),
    }


def _value(kind: str, told: dict[str, Any]) -> str:
    """What was judged, as databases of MLflow's have it."""
    if "serialized_value" in told:  # JSON already: an expectation that is a list or an object
        return json.dumps(json.loads(told["serialized_value"]["value"]))
    return json.dumps(told if kind == "issue" else told.get("value"))


def _micros(time: Any) -> int | None:
    return micros(_milliseconds(time), "", [])
