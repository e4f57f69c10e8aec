"""What the tests of run folders share: the fixtures, and tables as lists of rows."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import Any

from trackbridge.adapter import Query, Reader, Row, RunRef
from trackbridge_adapters.wandb import ADAPTER

FIXTURES = Path(__file__).resolve().parents[3] / "fixtures"
STORES = sorted(path.parent for path in FIXTURES.glob("wandb-*/expected.json"))


def expected_runs(store: Path) -> dict[str, dict[str, Any]]:
    """What the SDK was given for each part of a fixture."""
    runs = json.loads((store / "expected.json").read_text("utf-8"))["runs"]
    return {run["part"]: run for run in runs}


def open_store(path: Path) -> Reader:
    return ADAPTER.reader(str(path), {})


def refs(reader: Reader) -> list[RunRef]:
    return [info.ref for info in reader.list_runs(Query())]


def read(
    reader: Reader, run: RunRef, tables: Collection[str] | None = None
) -> dict[str, list[Row]]:
    """Every row of a run by table, without the labels."""
    rows: dict[str, list[Row]] = defaultdict(list)
    for batch in reader.read_runs([run], tables):
        for row in batch.data.to_pylist():
            assert (row.pop("project"), row.pop("run_id")) == run
            rows[batch.table].append(row)
    return rows


def damage(tables: dict[str, list[Row]]) -> list[str]:
    extra = json.loads(tables["runs"][0]["extra"] or "{}")
    assert extra.get("incomplete", False) == bool(extra.get("damage"))
    return list(extra.get("damage", []))
