"""What of a run W&B does not show, or shows otherwise: the sidecar has it."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

from trackbridge.adapter import Row, RunKey
from trackbridge.losses import Losses

TABLES = ("params", "summary", "metric_defs", "series")
"""Tables whose rows keep their keys."""
LENGTH = 40
"""Characters of a value that an example has."""


def unseen(
    key: RunKey, given: Mapping[str, Iterable[Row]], shown: Mapping[str, Iterable[Row]]
) -> Losses:
    """Counts what is `given` of a run and not `shown` as it is."""
    found = Losses()
    [row], [there] = given["runs"], shown["runs"]
    if row.get("status") != there["status"]:
        known = row.get("status") or "not known"
        found.add(f"status shown as {there['status']}", f"{key.run_id}: {known}")
    labels = {row["key"] for row in shown.get("tags", ())}
    for row in given.get("tags", ()):
        if row.get("value") is None and row["key"] not in labels:
            found.add("tags not shown", f"{key.run_id}: {row['key']}")
    for table in TABLES:
        rows: dict[Hashable, list[Row]] = {}
        for row in shown.get(table, ()):
            rows.setdefault(_name(row), []).append(row)
        for row in given.get(table, ()):
            if (table, row["key"]) == ("summary", "_step"):
                continue  # each summary has one, whatever is written of it
            namesakes = rows.get(_name(row), [])
            if not namesakes:
                found.add(f"{table} not shown", f"{key.run_id}: {row['key']}")
            elif all(_differs(row, other) for other in namesakes):
                values = f"{row['value'][:LENGTH]} -> {namesakes[0]['value'][:LENGTH]}"
                found.add(f"{table}.value shown otherwise", f"{key.run_id}: {row['key']}: {values}")
    return found


def _name(row: Row) -> Hashable:
    """The key may be that of several: `a.b`, and `b` in `a`."""
    return row["key"], row.get("step"), row.get("row")


def _differs(row: Row, there: Row) -> bool:
    """Whether a value has become another one: 1 is 1.0, and a text is what it says."""
    text, shown = row.get("value"), there.get("value")
    if text == shown or text is None or shown is None or _kind(row) in (None, "string"):
        return False
    return bool(_value(text) != _value(shown))


def _kind(row: Row) -> str | None:
    kind: str | None = row["kind"] if "kind" in row else row.get("type")
    return kind


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=str)
    except ValueError:
        return text
