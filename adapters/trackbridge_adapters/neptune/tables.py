"""The small tables of a run, from what its attributes say."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from trackbridge.adapter import Row, RunRef
from trackbridge_adapters.neptune.facts import Facts

TIME_LENGTH = "milliseconds"
LIVELY = ("running", "active")
IN_COLUMNS = frozenset(
    {
        "sys/name",
        "sys/description",
        "sys/owner",
        "sys/hostname",
        "sys/creation_time",
        "sys/tags",
        "sys/group_tags",
        "sys/forking/parent",
        "sys/trashed",
        "sys/archived",
    }
)
"""Attributes that other tables say, exactly; all others are params."""
PARAM_TYPES = {"int": "integer", "float": "float", "bool": "boolean", "string_set": "list"}


def generation(ref: RunRef, facts: Facts) -> int:
    """2 or 3: in the third, runs are named by the ids that people gave them."""
    return 3 if facts.value("sys/custom_run_id", "string") == ref.run_id else 2


def run_row(ref: RunRef, facts: Facts, extra: Mapping[str, Any], source: Path) -> Row:
    """The row of `runs`; `extra` is what was found while points and files were looked at."""
    text = {path: value for path, (kind, value) in facts.attributes.items() if kind == "string"}
    third = generation(ref, facts) == 3
    experiment = text.get("sys/experiment/name") or text.get("sys/name")
    return {
        "name": name_of(ref, facts),
        "status": status(facts),
        "started": time_of(facts, "sys/creation_time"),
        "ended": time_of(facts, "sys/ping_time"),
        "user": text.get("sys/owner"),
        "parent_run_id": text.get("sys/model_id" if facts.entity else "sys/forking/parent"),
        "group": experiment if third else None,
        "job_type": facts.entity,
        "notes": text.get("sys/description"),
        "deleted": is_deleted(facts),
        "host": text.get("sys/hostname"),
        "program": text.get("source_code/entrypoint"),
        "git_remote": text.get("source_code/remote/origin"),
        "git_commit": text.get("source_code/commit/commit_id"),
        "source": str(source),
        "extra": packed(_extra(facts, extra)),
    }


def name_of(ref: RunRef, facts: Facts) -> str | None:
    """In the third generation `sys/name` is that of an experiment, which has several runs."""
    name = facts.value("sys/name", "string")
    return ref.run_id if generation(ref, facts) == 3 else name


def time_of(facts: Facts, path: str) -> datetime | None:
    """The time that an attribute says, if it is one that calendars have."""
    value = facts.value(path, "datetime")
    return value if isinstance(value, datetime) else None


def is_deleted(facts: Facts) -> bool:
    """Whether a run was in the trash of its project (archived, in the third generation)."""
    return any(facts.value(path, "bool") is True for path in ("sys/trashed", "sys/archived"))


def status(facts: Facts) -> str | None:
    """As far as the export says it: the state itself is no attribute that was exported."""
    failed = facts.value("sys/failed", "bool")
    state = facts.value("sys/state", "string")
    if failed:
        return "failed"
    if state is not None and state.lower() in LIVELY:
        return "running"
    return None if failed is None and state is None else "finished"


def _extra(facts: Facts, found: Mapping[str, Any]) -> dict[str, Any]:
    types: dict[str, list[str]] = {}
    for path, (kind, _) in facts.attributes.items():
        if kind == "datetime" or kind == "string_set":
            types.setdefault(kind, []).append(path)
    extra: dict[str, Any] = {name: value for name, value in found.items() if value}
    if types:
        extra["types"] = types
    if groups := facts.value("sys/group_tags", "string_set"):
        extra["group_tags"] = groups
    if (step := facts.value("sys/forking/step", "float", "int")) is not None:
        extra["fork_step"] = step
    return extra


def tags(facts: Facts) -> list[Row]:
    """Bare labels; those of groups have a name that says so."""
    own = facts.value("sys/tags", "string_set") or []
    grouped = facts.value("sys/group_tags", "string_set") or []
    keys = [*own, *(f"group/{name}" for name in grouped)]
    return [{"key": key, "value": None} for key in dict.fromkeys(filter(None, keys))]


def params(facts: Facts) -> list[Row]:
    """Single values, nested where `/` in their paths says so."""
    shown = {p: v for p, v in facts.attributes.items() if not _is_elsewhere(p, v[0])}
    folders = {path[:end] for path in shown for end, sign in enumerate(path) if sign == "/"}
    rows = []
    for path, (kind, value) in shown.items():
        parts = path.split("/")
        nested = len(parts) > 1 and all(parts) and not _stands_in_the_way(path, shown, folders)
        rows.append(
            {
                "key": ".".join(parts) if nested else path,
                "path": json.dumps(parts, ensure_ascii=False) if nested else None,
                "value": text_of(value),
                "type": PARAM_TYPES.get(kind, "string"),
            }
        )
    return rows


def _is_elsewhere(path: str, kind: str) -> bool:
    if path not in IN_COLUMNS:
        return False
    wanted = {
        "sys/creation_time": "datetime",
        "sys/tags": "string_set",
        "sys/group_tags": "string_set",
        "sys/trashed": "bool",
        "sys/archived": "bool",
    }
    return kind == wanted.get(path, "string")


def _stands_in_the_way(path: str, shown: Mapping[str, Any], folders: set[str]) -> bool:
    """Whether a path is a folder of another one, or lies in one that has a value itself."""
    above = (path[:end] for end, sign in enumerate(path) if sign == "/")
    return path in folders or any(folder in shown for folder in above)


def text_of(value: Any) -> str:
    """A value as `params` have it: texts and times plain, all others as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return value.isoformat(timespec=TIME_LENGTH)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)


def project_rows(counted: Mapping[str, Mapping[str, int]], data: Path) -> list[Row]:
    """A row for each project of which something is not read, counted by name."""
    return [
        {
            "project": project,
            "deleted": False,
            "source": str(data),
            "extra": packed({"not_read": dict(not_read)}),
        }
        for project, not_read in sorted(counted.items())
    ]


def packed(extra: Mapping[str, Any]) -> str | None:
    return json.dumps(extra, ensure_ascii=False, sort_keys=True) if extra else None


def labelled(rows: Iterable[Row], ref: RunRef) -> Sequence[Row]:
    return [{**row, "project": ref.project, "run_id": ref.run_id} for row in rows]
