"""Experiments and the model registry of a database of MLflow's, as shared tables."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from trackbridge.adapter import Batch, Query, Row
from trackbridge.columns import batches
from trackbridge_adapters.mlflow.entities import (
    EXTRA_TAG,
    NOTE,
    STORE_TAG,
    VERSION_EXTRA,
    VERSION_TAG,
    is_lock,
    label_in,
    micros,
    packed,
    place,
    read_extra,
    text,
)
from trackbridge_adapters.mlflow.session import IN, Session
from trackbridge_adapters.mlflow.sql_list import experiments
from trackbridge_adapters.mlflow.store_files import PREFIX

DELETED_STAGE = "Deleted_Internal"
"""Stage of a version that was deleted (mlflow/entities/model_registry/model_version_stages.py)."""

MODEL = ("name", "creation_time", "last_updated_time", "description", "workspace")
VERSION = (
    "name",
    "version",
    "run_id",
    "current_stage",
    "source",
    "status",
    "user_id",
    "creation_time",
    "last_updated_time",
    "description",
    "workspace",
    *VERSION_EXTRA,
)


def read(session: Session, query: Query) -> Iterator[Batch]:
    """Experiments that the query means; registered models with versions that came out of them.

    Where nothing is asked for in particular, every model.
    """
    labels, deleted = experiments(session)
    meant = {
        number
        for number, label in labels.items()
        if (not query.projects or label in query.projects)
        and (query.include_deleted or number not in deleted)
    }
    if query.run_ids:
        meant &= set(_experiments_of_runs(session, query))
    runs: set[str] | None = None
    if query.projects or query.run_ids:
        runs = set(_runs_of(session, meant))
    yield from batches("projects", _projects(session, labels, meant))
    versions = [row for row in _versions(session) if runs is None or row["run_id"] in runs]
    names = {row["name"] for row in versions}
    models = (row for row in _models(session) if runs is None or row["name"] in names)
    yield from batches("models", models)
    yield from batches("model_versions", versions)


def _experiments_of_runs(session: Session, query: Query) -> Iterator[str]:
    rest = f"WHERE run_uuid {IN}"
    values = [json.dumps(list(query.run_ids))]
    for (number,) in session.select("runs", ["experiment_id"], rest, values):
        yield str(number)


def _runs_of(session: Session, meant: set[str]) -> Iterator[str]:
    for run_id, number in session.select("runs", ["run_uuid", "experiment_id"]):
        if str(number) in meant:
            yield run_id


def _projects(session: Session, labels: dict[str, str], meant: set[str]) -> Iterator[Row]:
    tags = _tags(session, "experiment_tags", ["experiment_id"])
    columns = (
        "experiment_id",
        "artifact_location",
        "lifecycle_stage",
        "creation_time",
        "last_update_time",
        "workspace",
        "name",
    )
    for row in session.select("experiments", columns, "ORDER BY experiment_id"):
        number, location, stage, created, updated, workspace, name = row
        if str(number) in meant and STORE_TAG not in tags[(number,)]:
            own = {k: v for k, v in tags[(number,)].items() if not k.startswith(PREFIX)}
            hidden = own.pop(EXTRA_TAG, None)
            yield {
                "project": labels[str(number)],
                "project_id": str(number),
                "notes": own.pop(NOTE, None),
                "tags": packed(own),
                "created": micros(created, "", []),
                "deleted": stage == "deleted",
                "source": text(location, "", []),
                "extra": read_extra(
                    {"last_update_time": updated, **place(workspace, name)}, hidden
                ),
            }


def _models(session: Session) -> Iterator[Row]:
    tags = _tags(session, "registered_model_tags", ["workspace", "name"])
    aliases: dict[tuple[Any, ...], dict[str, str]] = defaultdict(dict)
    called = _called(session)
    columns = ["workspace", "name", "alias", "version"]
    for workspace, name, alias, version in session.select("registered_model_aliases", columns):
        number = called.get((workspace, name, version)) or str(version)
        aliases[workspace, name][alias] = number
    for name, created, updated, description, workspace in session.select(
        "registered_models", MODEL, "ORDER BY name"
    ):
        if is_lock(name):
            continue
        own = tags[workspace, name]
        hidden = own.pop(EXTRA_TAG, None)
        yield {
            "name": label_in(workspace, name),
            "created": micros(created, "", []),
            "updated": micros(updated, "", []),
            "description": text(description, "", []),
            "aliases": packed(aliases[workspace, name]),
            "tags": packed(own),
            "extra": read_extra(place(workspace, name), hidden),
        }


def _called(session: Session) -> dict[tuple[Any, ...], str | None]:
    """What versions are called that had to be given another number here."""
    columns = ["workspace", "name", "version", "value"]
    rest = f"""WHERE "key" = '{VERSION_TAG}'"""
    rows = session.select("model_version_tags", columns, rest)
    return {tuple(who): value for *who, value in rows}


def _versions(session: Session) -> Iterator[Row]:
    tags = _tags(session, "model_version_tags", ["workspace", "name", "version"])
    for values in session.select("model_versions", VERSION, "ORDER BY name, version"):
        native = dict(zip(VERSION, values))
        if native["current_stage"] == DELETED_STAGE:
            continue
        workspace, name = native["workspace"], native["name"]
        own = tags[workspace, name, native["version"]]
        hidden = own.pop(EXTRA_TAG, None)
        more = {name: native[name] for name in VERSION_EXTRA}
        yield {
            "name": label_in(workspace, name),
            "version": own.pop(VERSION_TAG, None) or str(native["version"]),
            "run_id": native["run_id"] or None,
            "stage": native["current_stage"],
            "source": native["source"],
            "status": native["status"],
            "user": native["user_id"],
            "created": micros(native["creation_time"], "", []),
            "updated": micros(native["last_updated_time"], "", []),
            "description": text(native["description"], "", []),
            "tags": packed(own),
            "extra": read_extra({**more, **place(workspace, name)}, hidden),
        }


def _tags(
    session: Session, table: str, owner: list[str]
) -> defaultdict[tuple[Any, ...], dict[str, str | None]]:
    """Tags by owner, with those of Trackbridge's own that stand for columns."""
    found: defaultdict[tuple[Any, ...], dict[str, str | None]] = defaultdict(dict)
    for *who, key, value in session.select(table, [*owner, "key", "value"]):
        found[tuple(who)][text(key, "", []) or ""] = text(value, "", [])
    return found
