"""Runs by filter in the form of MongoDB, and in order."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from wandb_server.graphql import Refused
from wandb_server.state import Run

_FIELDS: dict[str, Callable[[Run], Any]] = {
    "name": lambda run: run.name,
    "display_name": lambda run: run.display_name,
    "state": lambda run: run.state,
    "tags": lambda run: run.tags,
    "created_at": lambda run: run.created_at.rstrip("Z"),
    "heartbeat_at": lambda run: run.heartbeat_at.rstrip("Z"),
    "username": lambda run: run.user.name,
    "user": lambda run: run.user.name,
    "group": lambda run: run.values.get("groupName"),
    "job_type": lambda run: run.values.get("jobType"),
    "notes": lambda run: run.values.get("notes"),
    "description": lambda run: run.values.get("description"),
    "host": lambda run: run.values.get("host"),
    "commit": lambda run: run.values.get("commit"),
    "sweep": lambda run: run.sweep,
    "sweep_name": lambda run: run.sweep,
    "history_line_count": lambda run: len(run.history),
}


def value(run: Run, name: str) -> Any:
    """Of a field as filters and orders name it; `config.x` and `config.x.value` are one."""
    head, _, rest = name.partition(".")
    head = re.sub("([A-Z])", lambda found: "_" + found[1].lower(), head)
    if head == "config":
        return _inside(_plain(run.config), rest.removesuffix(".value").split("."))
    if head == "summary_metrics":
        return _inside(run.summary, rest.split("."))
    if head in _FIELDS and not rest:
        return _FIELDS[head](run)
    raise Refused(f"invalid filter: unknown field {name!r}")


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    parts = config.items()
    return {key: part.get("value") if isinstance(part, dict) else part for key, part in parts}


def _inside(value: Any, path: list[str]) -> Any:
    if not path:
        return value
    if not isinstance(value, dict):
        return None
    whole = ".".join(path)
    return value[whole] if whole in value else _inside(value.get(path[0]), path[1:])


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def check(found: Any, wanted: Any) -> bool:
        wanted = wanted.rstrip("Z") if isinstance(wanted, str) else wanted
        try:
            return found is not None and compare(found, wanted)
        except TypeError:
            return False

    return check


def _equal(found: Any, wanted: Any) -> bool:
    if isinstance(found, list) and not isinstance(wanted, list):
        return wanted in found
    return bool(found == wanted)


_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": _equal,
    "$ne": lambda found, wanted: not _equal(found, wanted),
    "$in": lambda found, wanted: any(_equal(found, each) for each in wanted),
    "$nin": lambda found, wanted: not any(_equal(found, each) for each in wanted),
    "$gt": _ordered(operator.gt),
    "$gte": _ordered(operator.ge),
    "$lt": _ordered(operator.lt),
    "$lte": _ordered(operator.le),
    "$exists": lambda found, wanted: (found is not None) == bool(wanted),
    "$regex": lambda found, wanted: isinstance(found, str) and bool(re.search(wanted, found)),
}


def meets(get: Callable[[str], Any], condition: dict[str, Any]) -> bool:
    """Whether what `get` gives by field name meets a condition."""
    return all(_meets(get, key, wanted) for key, wanted in condition.items())


def _meets(get: Callable[[str], Any], key: str, wanted: Any) -> bool:
    if key == "$and":
        return all(meets(get, part) for part in wanted)
    if key == "$or":
        return any(meets(get, part) for part in wanted)
    if key in ("$nor", "$not"):
        parts = wanted if isinstance(wanted, list) else [wanted]
        return not any(meets(get, part) for part in parts)
    if key.startswith("$"):
        raise Refused(f"invalid filter: unknown operator {key}")
    found = get(key)
    if not (isinstance(wanted, dict) and any(part.startswith("$") for part in wanted)):
        return _equal(found, wanted)
    for name, operand in wanted.items():
        if name == "$not":
            if _meets(get, key, operand):
                return False
        elif name not in _TESTS:
            raise Refused(f"invalid filter: unknown operator {name}")
        elif not _TESTS[name](found, operand):
            return False
    return True


def chosen(runs: list[Run], filters: str | None, order: str | None) -> list[Run]:
    """Runs that meet a filter (JSON), in order: `+created_at` (ascending) where none is given."""
    condition = json.loads(filters) if filters else {}
    found = [run for run in runs if meets(partial(value, run), condition)]
    for part in reversed((order or "+created_at").split(",")):
        name, descending = part.strip().lstrip("+-"), part.strip().startswith("-")
        found.sort(key=lambda run: _rank(value(run, name)), reverse=descending)
    return found


def _rank(value: Any) -> tuple[int, Any]:
    if isinstance(value, (int, float)):
        return 1, value
    return (0, 0) if value is None else (2, str(value))
