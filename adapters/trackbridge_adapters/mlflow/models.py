"""Logged models of MLflow 3 in terms of the run model: rows of `artifacts` of the kind `model`.

The version is the model's id and the owner of its files `name:id`. A model belongs to the run
that made it; what another run says of it, that it used it or has it as an output, is a row
without metadata but for the step.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from trackbridge.adapter import Row
from trackbridge_adapters.mlflow.entities import packed, unpacked

KIND = "model"
FOLDER = "models"
"""Folder of an experiment in which the models' folders lie."""

MODEL_ID = re.compile(r"[\w\-]{1,36}")
"""Width of `logged_models.model_id`; it is also the name of a folder."""

FIELDS = ("status", "status_message", "model_type", "last_updated", "lifecycle_stage")
"""Native values in the metadata, beside params, tags, metrics and the step of the run's output."""

POINT = ("key", "value", "timestamp", "step", "run_id", "dataset_name", "dataset_digest")


def made(
    label: Row,
    name: str,
    model_id: str,
    created: int | None,
    fields: Mapping[str, Any],
    *,
    params: Mapping[str, str | None],
    tags: Mapping[str, str | None],
    points: Sequence[Mapping[str, Any]],
    step: int | None,
) -> Row:
    """The row of a model in the run that made it; `step` is null where it is no output."""
    metadata = {field: fields.get(field) for field in FIELDS}
    metadata.update(params=params, tags=tags, metrics=sorted(map(_point, points), key=repr))
    metadata["step"] = step
    return {
        **label,
        "collection": name,
        "kind": KIND,
        "version": model_id,
        "direction": "logged",
        "metadata": packed({n: v for n, v in metadata.items() if v not in (None, {}, [])}),
        "created": created,
    }


def mentioned(label: Row, model_id: str, direction: str, step: int | None = None) -> Row:
    """The row of a model that another run made, which may be elsewhere."""
    return {
        **label,
        "collection": model_id,
        "kind": KIND,
        "version": model_id,
        "direction": direction,
        "metadata": packed({} if step is None else {"step": step}),
    }


def owner(name: str, model_id: str) -> str:
    """What the files of a model belong to."""
    return f"{name}:{model_id}"


def is_made(row: Row) -> bool:
    """Whether a row is that of the run that made the model."""
    return row["direction"] == "logged" and "status" in unpacked(row.get("metadata"))


def is_native(row: Row) -> bool:
    """Whether a row of `artifacts` is one that MLflow can hold."""
    metadata = unpacked(row.get("metadata"))
    return (
        row.get("kind") == KIND
        and isinstance(row.get("collection"), str)
        and MODEL_ID.fullmatch(row.get("version") or "") is not None
        and row.get("direction") in ("logged", "used")
        and row.get("metadata") == packed(metadata)
        and _are_distinct(metadata.get("metrics", []))
        and (is_made(row) or row == {**row, **_bare(row, metadata)})
        and all(row.get(n) is None for n in ("aliases", "digest", "description", "extra"))
    )


def _are_distinct(points: Sequence[Mapping[str, Any]]) -> bool:
    """Whether MLflow's table can hold the points: it tells them apart by anything but the value."""
    names = ("key", "timestamp", "step", "run_id")
    return len({tuple(point.get(name) for name in names) for point in points}) == len(points)


def _bare(row: Row, metadata: Mapping[str, Any]) -> Row:
    bare = mentioned({}, row["version"], row["direction"], metadata.get("step"))
    return {**bare, "created": None}


def _point(point: Mapping[str, Any]) -> dict[str, Any]:
    """A metric of a model; numbers that JSON does not know become text."""
    value = point.get("value")
    if isinstance(value, float) and not math.isfinite(value):
        value = str(value)
    kept = {name: point.get(name) for name in POINT} | {"value": value}
    return {name: v for name, v in kept.items() if v is not None}
