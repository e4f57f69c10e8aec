"""Registered models and their versions, written into a database of MLflow's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from trackbridge.adapter import Row
from trackbridge_adapters.mlflow.entities import (
    PLACE,
    VERSION_EXTRA,
    VERSION_TAG,
    WORKSPACE,
    milliseconds,
    native_extra,
    native_tags,
    placed,
    unpacked,
)
from trackbridge_adapters.mlflow.experiments import check_name, make_workspace
from trackbridge_adapters.mlflow.session import Transaction

MODELS = "registered_models"


class At(NamedTuple):
    """Where a model is; older revisions know no workspaces."""

    workspace: str
    name: str


def write(transaction: Transaction, models: Sequence[Row], versions: Sequence[Row]) -> None:
    """Give models and versions the values of their rows; others are left alone."""
    for row in models:
        _write_model(transaction, row)
    for row in versions:
        _write_version(transaction, row)
    for row in models:
        _write_aliases(transaction, row)


def follow(transaction: Transaction, moved: Mapping[str, str]) -> None:
    """Versions whose files lay in a folder of a run or model have them in the new one now."""
    columns = ["workspace", "name", "version", "source", "storage_location"]
    for workspace, name, version, *places in transaction.select("model_versions", columns):
        new = [_followed(place, moved) for place in places]
        if new != places:
            where, values = _where(transaction, At(workspace or WORKSPACE, name))
            transaction.execute(
                "UPDATE model_versions SET source = ?, storage_location = ?"
                f" {where} AND version = ?",
                [*new, *values, version],
            )


def _followed(place: str | None, moved: Mapping[str, str]) -> str | None:
    """A path below one of the folders, below its new one."""
    parts = (place or "").split("/")
    for length in range(len(parts), 0, -1):
        old = "/".join(parts[:length])
        if old in moved:
            return "/".join([moved[old], *parts[length:]])
    return place


def _write_model(transaction: Transaction, row: Row) -> None:
    at, _, hidden = _native(transaction, row, ())
    check_name(transaction, MODELS, *at, "MlflowClient.rename_registered_model")
    make_workspace(transaction, at.workspace)
    native = {
        "creation_time": milliseconds(row["created"]),
        "last_updated_time": milliseconds(row["updated"]),
        "description": row["description"],
        **at._asdict(),
    }
    transaction.put(MODELS, ["workspace", "name"], [native])
    tags = {**native_tags(row["tags"]), **hidden}
    where, values = _where(transaction, at)
    transaction.execute(f"DELETE FROM registered_model_tags {where}", values)
    _insert_tags(transaction, "registered_model_tags", tags, at)


def _write_version(transaction: Transaction, row: Row) -> None:
    at, own, hidden = _native(transaction, row, VERSION_EXTRA)
    check_name(transaction, MODELS, *at, "MlflowClient.rename_registered_model")
    where, values = _where(transaction, at)
    if not transaction.fetch(f"SELECT 1 FROM registered_models {where}", values):
        make_workspace(transaction, at.workspace)
        transaction.insert(MODELS, [at._asdict()])
    number = _number(transaction, at, row["version"])
    native = {
        **at._asdict(),
        "version": number,
        "creation_time": milliseconds(row["created"]),
        "last_updated_time": milliseconds(row["updated"]),
        "description": row["description"],
        "user_id": row["user"],
        "current_stage": row["stage"],
        "run_id": row["run_id"],
        "status": row["status"],
        **_places(transaction, row),
        **own,
    }
    transaction.put("model_versions", ["workspace", "name", "version"], [native])
    tags = {**native_tags(row["tags"]), **hidden}
    if row["version"] != str(number):
        tags[VERSION_TAG] = row["version"]
    transaction.execute(
        f"DELETE FROM model_version_tags {where} AND version = ?", [*values, number]
    )
    _insert_tags(transaction, "model_version_tags", tags, at, version=number)


def _write_aliases(transaction: Transaction, row: Row) -> None:
    at, _, _ = _native(transaction, row, ())
    aliases, numbers = unpacked(row["aliases"]), _numbers(transaction, at)
    where, values = _where(transaction, at)
    transaction.execute(f"DELETE FROM registered_model_aliases {where}", values)
    transaction.insert(
        "registered_model_aliases",
        [
            {**at._asdict(), "alias": alias, "version": numbers[version]}
            for alias, version in aliases.items()
            if version in numbers
        ],
    )


def _native(
    transaction: Transaction, row: Row, columns: Sequence[str]
) -> tuple[At, dict[str, Any], dict[str, str | None]]:
    """Where a model or version is, its native columns, and tags that keep the rest of `extra`."""
    if "workspace" in transaction.columns("registered_models"):
        own, hidden = native_extra(row["extra"], (*columns, *PLACE))
        at = At(*placed(row["name"], own))
        if at.workspace != WORKSPACE:
            return at, {name: own[name] for name in columns}, hidden
    return At(WORKSPACE, row["name"]), *native_extra(row["extra"], columns)


def _number(transaction: Transaction, at: At, version: str) -> int:
    """The number of a version in MLflow, which knows only numbers: its own, if it has one."""
    known = _numbers(transaction, at)
    if version in known:
        return known[version]
    digits = re.fullmatch(r"[vV]?([1-9][0-9]{0,8})", version)
    wish = int(digits[1]) if digits else 0
    taken = set(known.values())
    return wish if wish and wish not in taken else max(taken, default=0) + 1


def _numbers(transaction: Transaction, at: At) -> dict[str, int]:
    """Version as it is reported -> number in MLflow."""
    where, values = _where(transaction, at)
    rows = transaction.select("model_versions", ["version"], where, values)
    where += f""" AND "key" = '{VERSION_TAG}'"""
    told: dict[int, str] = dict(
        transaction.select("model_version_tags", ["version", "value"], where, values)
    )
    return {told.get(number) or str(number): number for (number,) in rows}


def _where(transaction: Transaction, at: At) -> tuple[str, list[str]]:
    """Condition on a model, and its values."""
    if "workspace" in transaction.columns("registered_models"):
        return "WHERE workspace = ? AND name = ?", list(at)
    return "WHERE name = ?", [at.name]


def _places(transaction: Transaction, row: Row) -> Row:
    """Where the files of a version lie: below those of its run or model, if these are here."""
    source = row["source"] or ""
    logged = re.fullmatch(r"models:/(m-[0-9a-f]+)", source)
    if logged:
        query = "SELECT artifact_location FROM logged_models WHERE model_id = ?"
        found = transaction.fetch(query, [logged[1]])
        return {"source": source, "storage_location": found[0][0] if found else None}
    below = re.search(r"/(\w+)/artifacts(?:\.\d+)?(/.*)?$", source)
    if below:
        query = "SELECT artifact_uri FROM runs WHERE run_uuid = ?"
        found = transaction.fetch(query, [row["run_id"] or below[1]])
        if found:
            source = found[0][0] + (below[2] or "")
    return {"source": source, "storage_location": source or None}


def _insert_tags(
    transaction: Transaction, table: str, tags: dict[str, str | None], at: At, **version: int
) -> None:
    rows = [{"key": k, "value": v, **at._asdict(), **version} for k, v in tags.items()]
    transaction.insert(table, rows)
