"""Experiments and the model registry of a server, as shared tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trackbridge.adapter import Batch, Query, Row
from trackbridge.columns import batches
from trackbridge_adapters.mlflow import rest_left
from trackbridge_adapters.mlflow.entities import (
    NOTE,
    STRAY_MODELS,
    VERSION_EXTRA,
    VERSION_TAG,
    is_lock,
    micros,
    packed,
    read_extra,
    with_not_read,
)
from trackbridge_adapters.mlflow.rest_ids import Experiments, Ids, hidden_row, model_id, pairs
from trackbridge_adapters.mlflow.rest_list import made
from trackbridge_adapters.mlflow.rest_server import Json, LackingError, Server

MODELS_PAGE = 100
"""Most registered models at a time that all servers give; newer ones allow 1000."""
VERSIONS_PAGE = 10_000
PROMPTS = "tags.`mlflow.prompt.is_prompt` = 'true'"
"""Prompts are models that a search leaves out unless it asks for them (3.0 and later)."""
DELETED_STAGE = "Deleted_Internal"
NO_STAGE = "None"
LOGGED = "models:/"
"""What the source of a version begins with that is a logged model."""


def read(server: Server, ids: Ids, query: Query) -> Iterator[Batch]:
    """Experiments that the query means; registered models with versions that came out of them.

    Where nothing is asked for in particular, every model.
    """
    experiments = Experiments(server)
    meant = {
        number
        for number, label in experiments.labels.items()
        if (not query.projects or label in query.projects)
        and (query.include_deleted or number not in experiments.deleted)
    }
    if query.run_ids:
        found = ids.find(sorted(set(query.run_ids)), experiments)
        meant &= {run.info["experiment_id"] for run in found if run is not None}
    yield from batches("projects", _projects(server, experiments, meant))
    runs: set[str] | None = None
    if query.projects or query.run_ids:
        pages = ids.search(sorted(meant)) if meant else ()
        runs = {run.native_id for page in pages for run in page}
    every = list(all_versions(server))
    called = {(v["name"], str(v["version"])): version_name(v) for v in every}
    versions = [native for native in every if runs is None or native.get("run_id") in runs]
    names = {native["name"] for native in versions}
    models = [m for m in all_models(server) if runs is None or m["name"] in names]
    yield from batches("models", (_model(native, called) for native in models))
    sources = _sources(server, experiments, versions)
    yield from batches("model_versions", (_version(native, ids, sources) for native in versions))


def all_models(server: Server) -> Iterator[Json]:
    """Every registered model, prompts too, each once."""
    found = _searched(server, "registered_models", ("name",), MODELS_PAGE)
    return (native for native in found if not is_lock(native["name"]))


def all_versions(server: Server) -> Iterator[Json]:
    """Every version of every registered model."""
    found = _searched(server, "model_versions", ("name", "version"), VERSIONS_PAGE)
    return (native for native in found if native.get("current_stage") != DELETED_STAGE)


def version_name(native: Json) -> str:
    """The version as it is reported: the number that the server chose may be another."""
    return pairs(native.get("tags")).get(VERSION_TAG) or str(native["version"])


def _searched(server: Server, field: str, names: tuple[str, ...], most: int) -> Iterator[Json]:
    seen = set()
    path = f"mlflow/{field.replace('_', '-')}/search"
    for condition in ("", PROMPTS):
        named: dict[str, Any] = {"filter": condition} if condition else {}
        try:
            for page in server.get_pages(path, field, max_results=most, **named):
                for native in page:
                    name = tuple(native[part] for part in names)
                    if name not in seen:
                        seen.add(name)
                        yield native
        except LackingError:  # a server without a registry
            return


def _projects(server: Server, experiments: Experiments, meant: set[str]) -> Iterator[Row]:
    numbers = sorted(meant, key=lambda number: (len(number), number))  # 9 was made before 10
    stray = made(server, numbers).get("", [])
    left = rest_left.counts(server, numbers)
    for native in experiments.rows:
        number = native["experiment_id"]
        if number not in meant:
            continue
        tags = pairs(native.get("tags"))
        hidden = hidden_row(tags)
        models = sum(model["info"]["experiment_id"] == number for model in stray)
        row = {
            "project": experiments.labels[number],
            "project_id": number,
            "notes": tags.pop(NOTE, None),
            "tags": packed(tags),
            "created": _time(native.get("creation_time")),
            "deleted": number in experiments.deleted,
            "source": native.get("artifact_location"),
            "extra": read_extra({"last_update_time": _whole(native.get("last_update_time"))}, None),
            **hidden,
        }
        counts = {**left[number], STRAY_MODELS: models}
        yield {**row, "extra": with_not_read(row["extra"], counts)}


def _sources(server: Server, experiments: Experiments, versions: Sequence[Json]) -> dict[str, str]:
    """What versions say of the logged models that they are of -> the same with our ids."""
    if not any((native.get("source") or "").startswith(LOGGED) for native in versions):
        return {}
    numbers = [row["experiment_id"] for row in experiments.rows]
    return {
        f"{LOGGED}{model['info']['model_id']}": f"{LOGGED}{model_id(model)}"
        for found in made(server, numbers).values()
        for model in found
    }


def _model(native: Json, called: Mapping[tuple[str, str], str]) -> Row:
    tags = pairs(native.get("tags"))
    hidden = hidden_row(tags)
    numbers = {row["alias"]: str(row["version"]) for row in native.get("aliases") or ()}
    aliases = {alias: called.get((native["name"], n), n) for alias, n in numbers.items()}
    aliases |= hidden.pop("aliases", {})
    return {
        "name": native["name"],
        "created": _time(native.get("creation_timestamp")),
        "updated": _time(native.get("last_updated_timestamp")),
        "description": native.get("description") or None,
        "aliases": packed(aliases),
        "tags": packed(tags),
        "extra": None,
        **hidden,
    }


def _version(native: Json, ids: Ids, sources: Mapping[str, str]) -> Row:
    tags = pairs(native.get("tags"))
    hidden = hidden_row(tags)
    if native.get("current_stage") != NO_STAGE:
        hidden.pop("stage", None)
    run = native.get("run_id")
    return {
        "name": native["name"],
        "version": tags.pop(VERSION_TAG, None) or str(native["version"]),
        "run_id": ids.ours(run) if run else None,
        "stage": native.get("current_stage"),
        "source": sources.get(native.get("source") or "", native.get("source")),
        "status": native.get("status"),
        "user": native.get("user_id") or None,
        "created": _time(native.get("creation_timestamp")),
        "updated": _time(native.get("last_updated_timestamp")),
        "description": native.get("description") or None,
        "tags": packed(tags),
        "extra": read_extra({name: native.get(name) for name in VERSION_EXTRA}, None),
        **hidden,
    }


def _time(milliseconds: Any) -> int | None:
    return micros(_whole(milliseconds), "", [])


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)
