"""Rows of a store, for tests."""

from __future__ import annotations

import json
from typing import Any

from trackbridge.adapter import Query
from trackbridge.optional import Assuming
from trackbridge.registry import open_reader


def rows(address: str, table: str, **options: str) -> list[dict[str, Any]]:
    reader = open_reader(address, options)
    refs = [info.ref for info in reader.list_runs(Query())]
    return [row for batch in reader.read_runs(refs, [table]) for row in batch.data.to_pylist()]


def points(address: str, **options: str) -> list[dict[str, Any]]:
    return rows(address, "metrics", **options)


def series(address: str, **options: str) -> list[dict[str, Any]]:
    return rows(address, "series", **options)


def assumed(address: str, **options: str) -> dict[str, str]:
    """What each column is taken for."""
    reader = open_reader(address, options)
    assert isinstance(reader, Assuming)
    return {said.what.removeprefix("column "): said.meaning for said in reader.assumptions()}


def damage(address: str, **options: str) -> list[str]:
    """What is unreadable, of all runs."""
    extras = [json.loads(row["extra"] or "{}") for row in rows(address, "runs", **options)]
    return [line for extra in extras for line in extra.get("damage", [])]
