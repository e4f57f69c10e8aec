"""Registered models and their versions, written into a database of MLflow's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from trackbridge.adapter import Row
from trackbridge_adapters.mlflow.entities import (
    VERSION_EXTRA,
    VERSION_TAG,
    milliseconds,
    native_extra,
    native_tags,
    unpacked,
)
from trackbridge_adapters.mlflow.session import Transaction
from trackbridge_adapters.mlflow.sql_shared import WORKSPACE


def write(transaction: Transaction, models: Sequence[Row], versions: Sequence[Row]) -> None:
    """Give models and versions the values of their rows; others are left alone."""
    for row in models:
        _write_model(transaction, row)
    for row in versions:
        _write_version(transaction, row)
    for row in models:
        _write_aliases(transaction, row)


def follow(transaction: Transaction, moved: Mapping[str, Path]) -> None:
    """Versions whose files lay in a folder of a run or model have them in the new one now."""
    columns = ["name", "version", "source", "storage_location"]
    for name, version, *places in transaction.select("model_versions", columns):
        new = [_followed(place, moved) for place in places]
        if new != places:
            where = f"{_where(transaction)} AND version = ?"
            transaction.execute(
                f"UPDATE model_versions SET source = ?, storage_location = ? {where}",
                [*new, name, version],
            )


def _followed(place: str | None, moved: Mapping[str, Path]) -> str | None:
    """A path below one of the folders, below its new one."""
    parts = (place or "").split("/")
    for length in range(len(parts), 0, -1):
        old = "/".join(parts[:length])
        if old in moved:
            return "/".join([str(moved[old]), *parts[length:]])
    return place


def _write_model(transaction: Transaction, row: Row) -> None:
    name = row["name"]
    native = {
        "name": name,
        "creation_time": milliseconds(row["created"]),
        "last_updated_time": milliseconds(row["updated"]),
        "description": row["description"],
        "workspace": WORKSPACE,
    }
    transaction.put("registered_models", ["workspace", "name"], [native])
    _, hidden = native_extra(row["extra"], ())
    tags = {**native_tags(row["tags"]), **hidden}
    transaction.execute(f"DELETE FROM registered_model_tags {_where(transaction)}", [name])
    _insert_tags(transaction, "registered_model_tags", tags, name=name)


def _write_version(transaction: Transaction, row: Row) -> None:
    name = row["name"]
    if not transaction.fetch(f"SELECT 1 FROM registered_models {_where(transaction)}", [name]):
        transaction.insert("registered_models", [{"name": name, "workspace": WORKSPACE}])
    number = _number(transaction, name, row["version"])
    own, hidden = native_extra(row["extra"], VERSION_EXTRA)
    native = {
        "name": name,
        "version": number,
        "creation_time": milliseconds(row["created"]),
        "last_updated_time": milliseconds(row["updated"]),
        "description": row["description"],
        "user_id": row["user"],
        "current_stage": row["stage"],
        "run_id": row["run_id"],
        "status": row["status"],
        "workspace": WORKSPACE,
        **_places(transaction, row),
        **own,
    }
    transaction.put("model_versions", ["workspace", "name", "version"], [native])
    tags = {**native_tags(row["tags"]), **hidden}
    if row["version"] != str(number):
        tags[VERSION_TAG] = row["version"]
    where = f"{_where(transaction)} AND version = ?"
    transaction.execute(f"DELETE FROM model_version_tags {where}", [name, number])
    _insert_tags(transaction, "model_version_tags", tags, name=name, version=number)


def _write_aliases(transaction: Transaction, row: Row) -> None:
    name, aliases = row["name"], unpacked(row["aliases"])
    numbers = _numbers(transaction, name)
    transaction.execute(f"DELETE FROM registered_model_aliases {_where(transaction)}", [name])
    transaction.insert(
        "registered_model_aliases",
        [
            {"name": name, "alias": alias, "version": numbers[version], "workspace": WORKSPACE}
            for alias, version in aliases.items()
            if version in numbers
        ],
    )


def _number(transaction: Transaction, name: str, version: str) -> int:
    """The number of a version in MLflow, which knows only numbers: its own, if it has one."""
    known = _numbers(transaction, name)
    if version in known:
        return known[version]
    digits = re.fullmatch(r"[vV]?([1-9][0-9]{0,8})", version)
    wish = int(digits[1]) if digits else 0
    taken = set(known.values())
    return wish if wish and wish not in taken else max(taken, default=0) + 1


def _numbers(transaction: Transaction, name: str) -> dict[str, int]:
    """Version as it is reported -> number in MLflow."""
    where = _where(transaction)
    rows = transaction.select("model_versions", ["version"], where, [name])
    where += f""" AND "key" = '{VERSION_TAG}'"""
    told: dict[int, str] = dict(
        transaction.select("model_version_tags", ["version", "value"], where, [name])
    )
    return {told.get(number) or str(number): number for (number,) in rows}


def _where(transaction: Transaction) -> str:
    """Condition on a name in the default workspace; older revisions know no workspaces."""
    has_workspaces = "workspace" in transaction.columns("registered_models")
    return f"WHERE workspace = '{WORKSPACE}' AND name = ?" if has_workspaces else "WHERE name = ?"


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
    return {"source": source, "storage_location": None}


def _insert_tags(
    transaction: Transaction, table: str, tags: dict[str, str | None], **owner: str | int
) -> None:
    rows = [{"key": k, "value": v, "workspace": WORKSPACE, **owner} for k, v in tags.items()]
    transaction.insert(table, rows)
