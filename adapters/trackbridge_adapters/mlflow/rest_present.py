"""How a run is shown on a server: what its API accepts, and what it would change by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta

from trackbridge.adapter import Presentation, Row, RunKey
from trackbridge.fit_text import fit_value
from trackbridge.times import EPOCH
from trackbridge_adapters.mlflow import models, translate
from trackbridge_adapters.mlflow.entities import (
    CONTEXT,
    KIND,
    PROGRAM,
    RUN_NAME,
    packed,
    short_hash,
    unpacked,
)

NAME_LENGTH = 250
"""Width of `runs.name` and `runs.user_id` (store/tracking/dbmodels/models.py, 3.17)."""

INPUT_BYTES = {
    "name": 500,
    "digest": 36,
    "source": 65_535,
    "schema": 1_048_575,
    "profile": 16_777_215,
}
NEEDED = ("name", "digest", "kind", "source")
TAG_KEY, TAG_VALUE = 255, 500
"""Limits of datasets and their tags (mlflow/utils/validation.py, 3.17)."""

_MODEL_NAME = re.compile(r"[^/:.%\"']{1,256}")
"""`_validate_logged_model_name` (mlflow/utils/validation.py, 3.17)."""
_HOSTILE = re.compile(r"[;%#?\x00-\x1f\x7f-\x9f]")
"""What a server takes for another character of a path, or for its end (`validate_path_is_safe`,
mlflow/utils/uri.py, 3.17, decodes paths a second time)."""

Place = tuple[str, str]


def present(key: RunKey, tables: Mapping[str, list[Row]], parent: str | None) -> Presentation:
    """As in any store of MLflow's, within the limits of the API."""
    given = dict(tables)
    if key.kind == KIND:
        given["artifacts"] = [r for r in tables.get("artifacts", []) if _is_accepted(r)]
        given["inputs"] = [r for r in tables.get("inputs", []) if _is_input(r)]
    shown = translate.present(key, given, parent, has_models=True)
    shown.tables["artifacts"] = [_model(key, row) for row in shown.tables["artifacts"]]
    shown.tables["tags"] = [{**row, "value": row["value"] or ""} for row in shown.tables["tags"]]
    shown.tables["runs"] = [_run(key, row, shown.tables["tags"]) for row in shown.tables["runs"]]
    return replace(shown, files=dict(_moved(shown)))


def _run(key: RunKey, run: Row, tags: list[Row]) -> Row:
    """A run's row, with a name: the server makes one up for a run without."""
    named = next((row for row in tags if row["key"] == RUN_NAME), None)
    name = run["name"] or (named and named["value"]) or key.run_id or "run"
    name = fit_value(name, NAME_LENGTH)
    if named is None:
        tags.append({"key": RUN_NAME, "value": name})
    else:
        named["value"] = name
    # an end at 0 is read as none (entities/run_info.py, `to_proto`, 3.17)
    ended = run["ended"] + timedelta(milliseconds=1) if run["ended"] == EPOCH else run["ended"]
    user = None if run["user"] is None else fit_value(run["user"], NAME_LENGTH)
    program = next((row["value"] or None for row in tags if row["key"] == PROGRAM), None)
    changed = {"name": name, "user": user, "ended": ended, "program": program, "extra": None}
    return {**run, **changed}


def _is_accepted(row: Row) -> bool:
    """Whether the API can hold a row of `artifacts`: models with plain names and texts."""
    metadata = unpacked(row.get("metadata"))
    pairs = [*metadata.get("params", {}).items(), *metadata.get("tags", {}).items()]
    return (
        models.is_native(row)
        and (not models.is_made(row) or _MODEL_NAME.fullmatch(row["collection"]) is not None)
        and metadata.get("lifecycle_stage") != "deleted"
        and all(isinstance(value, str) for pair in pairs for value in pair)
    )


def _model(key: RunKey, row: Row) -> Row:
    """A model's row without the metrics that other runs have logged for it.

    Those are logged through the run that they belong to, which may not be there.
    """
    metadata = unpacked(row["metadata"])
    own = [point for point in metadata.get("metrics", []) if point.get("run_id") == key.run_id]
    if own == metadata.get("metrics", []):
        return row
    kept = {**metadata, "metrics": own} if own else metadata
    if not own:
        kept.pop("metrics")
    return {**row, "metadata": packed(kept)}


def _is_input(row: Row) -> bool:
    """Whether a dataset is within the limits of `log-inputs`; an empty text would read as none."""
    tags = {**unpacked(row.get("extra")), CONTEXT: row.get("context") or ""}
    return (
        all(row.get(name) for name in NEEDED)
        and row.get("context") != ""
        and all(row.get(name) != "" for name in INPUT_BYTES)
        and all(len((row.get(n) or "").encode()) <= most for n, most in INPUT_BYTES.items())
        and all(len(str(k)) <= TAG_KEY and len(str(v)) <= TAG_VALUE for k, v in tags.items())
    )


def _moved(shown: Presentation) -> Iterator[tuple[Place, Place]]:
    """Where files go, with those whose names a server would misread under other ones."""
    origin = {there: here for here, there in shown.files.items()}
    rows = shown.tables["files"]
    taken = {(row["owner"], row["path"]) for row in rows}
    for row in rows:
        there = row["owner"], row["path"]
        here = origin.get(there, there)
        clean = "/".join(map(_clean, row["path"].split("/")))
        if clean != row["path"]:
            clean += f"_{short_hash(row['path'])}"
            while (row["owner"], clean) in taken:
                clean += "_"
            taken.add((row["owner"], clean))
            row["path"] = clean
            there = row["owner"], clean
        if here != there:
            yield here, there


def _clean(part: str) -> str:
    """A part of a path without what a server misreads; spaces around it would be lost."""
    return _HOSTILE.sub("_", part.strip()) or "_"
