"""Experiments and the model registry of a file store, as shared tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trackbridge.adapter import Batch, Query, Row
from trackbridge.columns import batches
from trackbridge_adapters.mlflow import files_models, files_traces, folders
from trackbridge_adapters.mlflow.entities import (
    EXTRA_TAG,
    NOTE,
    ODD_TAG,
    STRAY_MODELS,
    VERSION_EXTRA,
    VERSION_TAG,
    micros,
    packed,
    read_extra,
    text,
    unpacked,
    with_not_read,
)
from trackbridge_adapters.mlflow.folders import META, MODELS, Experiment
from trackbridge_adapters.mlflow.sql_shared import DELETED_STAGE


def read(root: Path, query: Query) -> Iterator[Batch]:
    """Experiments that the query means; registered models with versions that came out of them.

    Where nothing is asked for in particular, every model.
    """
    found = folders.experiments(root)
    meant = [e for e in found if _is_meant(e, query)]
    yield from batches("projects", (_project(experiment) for experiment in meant))
    runs: set[str] | None = None
    if query.projects or query.run_ids:
        runs = {run.ref.run_id for experiment in meant for run in folders.runs(experiment)}
    models, versions = [], []
    for name, path in folders.files(root / MODELS):
        parts = name.split("/")
        if parts[-1] == META and len(parts) == 2:
            models.append(_model(Path(path)))
        elif parts[-1] == META and len(parts) == 3 and parts[1].startswith("version-"):
            row = _version(Path(path))
            if row["stage"] != DELETED_STAGE and (runs is None or row["run_id"] in runs):
                versions.append(row)
    names = {row["name"] for row in versions}
    yield from batches("models", [m for m in models if runs is None or m["name"] in names])
    yield from batches("model_versions", versions)


def _is_meant(experiment: Experiment, query: Query) -> bool:
    return (
        (not query.projects or experiment.label in query.projects)
        and (query.include_deleted or not experiment.deleted)
        and (
            not query.run_ids
            or any(run.ref.run_id in query.run_ids for run in folders.runs(experiment))
        )
    )


def _project(experiment: Experiment) -> Row:
    meta = experiment.meta
    tags = _tags(experiment.path)
    hidden = tags.pop(EXTRA_TAG, None)
    return {
        "project": experiment.label,
        "project_id": experiment.number,
        "notes": tags.pop(NOTE, None),
        "tags": packed(tags),
        "created": micros(meta.get("creation_time"), "", []),
        "deleted": experiment.deleted,
        "source": text(meta.get("artifact_location"), "", []),
        "extra": _with_counts(
            experiment,
            read_extra({"last_update_time": meta.get("last_update_time")}, hidden),
        ),
    }


def _with_counts(experiment: Experiment, extra: str | None) -> str | None:
    """`extra` of an experiment, and in it how much of what is in its folder is not read."""
    if experiment.is_closed:
        return packed({**unpacked(extra), "not_read": {"experiments without permission": 1}})
    stray = files_models.Models(experiment).stray()
    return with_not_read(extra, {STRAY_MODELS: stray, **files_traces.unreadable(experiment)})


def _model(path: Path) -> Row:
    meta = folders.read_yaml(path, META, [])
    aliases = meta.get("aliases")
    kept = dict(folders.values(path.parent / "aliases", "", []))
    if isinstance(aliases, dict):
        kept = {**{str(k): str(v) for k, v in aliases.items()}, **kept}
    called = _called(path.parent) if kept else {}
    tags = _tags(path.parent)
    hidden = tags.pop(EXTRA_TAG, None)
    return {
        "name": text(meta.get("name") or path.parent.name, "", []),
        "created": micros(meta.get("creation_timestamp"), "", []),
        "updated": micros(meta.get("last_updated_timestamp"), "", []),
        "description": text(meta.get("description"), "", []),
        "aliases": packed({alias: called.get(number, number) for alias, number in kept.items()}),
        "tags": packed(tags),
        "extra": read_extra({}, hidden),
    }


def _called(model: Path) -> dict[str, str]:
    """What versions are called that had to be given another number here."""
    found = {}
    for folder in folders.subfolders(model):
        told = dict(folders.values(folder / "tags", "", [])).get(VERSION_TAG)
        if told:
            found[folder.name.removeprefix("version-")] = told
    return found


def _version(path: Path) -> Row:
    meta: dict[str, Any] = folders.read_yaml(path, META, [])
    number = meta.get("version") or path.parent.name.removeprefix("version-")
    tags = _tags(path.parent)
    hidden = tags.pop(EXTRA_TAG, None)
    return {
        "name": text(meta.get("name") or path.parent.parent.name, "", []),
        "version": tags.pop(VERSION_TAG, None) or str(number),
        "run_id": text(meta.get("run_id") or None, "", []),
        "stage": text(meta.get("current_stage"), "", []),
        "source": text(meta.get("source"), "", []),
        "status": text(meta.get("status"), "", []),
        "user": text(meta.get("user_id"), "", []),
        "created": micros(meta.get("creation_timestamp"), "", []),
        "updated": micros(meta.get("last_updated_timestamp"), "", []),
        "description": text(meta.get("description"), "", []),
        "tags": packed(tags),
        "extra": read_extra({name: meta.get(name) for name in VERSION_EXTRA}, hidden),
    }


def _tags(owner: Path) -> dict[str, str | None]:
    """Tags of an experiment, model or version, with those that could not be files."""
    tags: dict[str, str | None] = dict(folders.values(owner / "tags", "tags", []))
    return {**tags, **unpacked(tags.pop(ODD_TAG, None))}
