"""Lists the runs of a database of MLflow's: counts and fingerprints, no points."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trackbridge.adapter import Query, RunInfo, RunRef
from trackbridge_adapters.mlflow import sql_states, storage
from trackbridge_adapters.mlflow.entities import (
    KEY_TAG,
    RUN_NAME,
    is_hidden,
    label_in,
    labels,
    moment,
    run_key,
    status,
    text,
    without_twins,
)
from trackbridge_adapters.mlflow.session import IN, Session

COLUMNS = (
    "run_uuid",
    "experiment_id",
    "name",
    "status",
    "start_time",
    "end_time",
    "deleted_time",
    "lifecycle_stage",
    "artifact_uri",
    "user_id",
    "source_name",
)


def runs(session: Session, query: Query, home: Path) -> Iterator[RunInfo]:
    """Every run that the query means, by experiment and start."""
    projects, deleted = experiments(session)
    where, values = "", []
    if query.run_ids:
        where = IN
        values = [json.dumps(list(query.run_ids))]
    points = session.counts(where, values)
    states = sql_states.runs(session, where, values)
    tags = sql_states.tags(session, where, values)
    models = sql_states.models(session, where, values)
    restriction = f"WHERE run_uuid {where}" if where else ""
    order = f"{restriction} ORDER BY experiment_id, start_time, run_uuid"
    meant: list[tuple[RunRef, dict[str, Any], list[Any], bool]] = []
    for row in session.select("runs", COLUMNS, order, values):
        native = dict(zip(COLUMNS, row))
        number = str(native["experiment_id"])
        ref = RunRef(projects.get(number, number), native["run_uuid"])
        if is_hidden(tags.get(ref.run_id) or {}):
            continue
        if _is_meant(query, ref, native, gone=number in deleted):
            state = [each.get(ref.run_id) for each in (points, states, tags, models)]
            meant.append((ref, native, state, number in deleted))
    filed = storage.listed(_files(native, state, home) for _, native, state, _ in meant)
    for (ref, native, state, gone), files in zip(meant, filed):
        yield _info(ref, native, state, files, gone=gone)


def experiments(session: Session) -> tuple[dict[str, str], set[str]]:
    """The project label of each experiment's id, and the ids that are marked as deleted."""
    columns = ("experiment_id", "name", "creation_time", "lifecycle_stage", "workspace")
    rows = [
        (
            number,
            label_in(workspace, text(name, "", []) or ""),
            created if isinstance(created, int) else None,
            stage,
        )
        for number, name, created, stage, workspace in session.select("experiments", columns)
    ]
    deleted = {str(number) for number, _, _, stage in rows if stage == "deleted"}
    return labels([row[:3] for row in rows]), deleted


def _is_meant(query: Query, ref: RunRef, native: dict[str, Any], *, gone: bool) -> bool:
    if query.projects and ref.project not in query.projects:
        return False
    if not query.include_deleted and (gone or native["lifecycle_stage"] == "deleted"):
        return False
    started = moment(native["start_time"])
    return query.since is None or (started is not None and started >= query.since)


def _files(native: dict[str, Any], state: list[Any], home: Path) -> list[storage.Wanted]:
    """The files of a run and of the models that it has made."""
    _, _, tags, models = state
    places = [native["artifact_uri"], *(place for _, place, *_ in models or ())]
    carried = KEY_TAG in (tags or {})
    return [
        storage.Wanted(found, [], carried and number == 0)
        for number, found in enumerate(storage.find(place, home) for place in places)
        if found is not None
    ]


def _info(
    ref: RunRef,
    native: dict[str, Any],
    state: list[Any],
    listed: list[storage.Listing],
    *,
    gone: bool,
) -> RunInfo:
    points, _, tags, _ = state
    tags = tags or {}
    carried = KEY_TAG in tags
    files = [entry for listing in listed for entry in listing.entries]
    sidecar = next((listing.sidecar for listing in listed), None)
    state[2] = state[2] and without_twins(state[2])
    content = json.dumps([native, state, files, sidecar], default=str, sort_keys=True)
    return RunInfo(
        ref,
        run_key(tags.get(KEY_TAG), ref),
        hashlib.sha256(content.encode()).hexdigest()[:16],
        native["name"] or tags.get(RUN_NAME) or None,
        status(native["status"]),
        moment(native["start_time"]),
        points or 0,
        len(files),
        sum(file.size for file in files),
        carried=carried,
        deleted=gone or native["lifecycle_stage"] == "deleted",
    )
