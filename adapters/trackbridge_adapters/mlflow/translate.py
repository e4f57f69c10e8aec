"""How a run of any origin is shown to users of MLflow: the tables (`Writer.present`)."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from datetime import datetime

from trackbridge.adapter import Names, Presentation, Row, RunKey, RunRef
from trackbridge.fit_text import fit_name, fit_value
from trackbridge.losses import Loss
from trackbridge.times import EPOCH
from trackbridge_adapters.mlflow import places
from trackbridge_adapters.mlflow.capabilities import SQL
from trackbridge_adapters.mlflow.entities import (
    CONTEXT,
    DERIVED,
    EXTRA,
    KIND,
    SOURCES,
    STATES,
    derive,
    packed,
    short_hash,
    unpacked,
)

RUN_ID = re.compile(r"[0-9a-f]{32}")
PROJECT = Names(256, "\x01-\U0010ffff")
"""Length of `experiments.name` (store/tracking/dbmodels/models.py, 3.17); never empty."""

OTHER_STATES = {"crashed": "failed"}
"""For states that MLflow has no word for; others are shown as finished."""

TAG_LENGTH = SQL.lengths["tags"]["value"]
TABLES_TAG = "mlflow.loggedArtifacts"
IMAGES_TAG = "mlflow.loggedImages"
SOURCE_TYPE = "mlflow.source.type"

INFO = {
    "state": "status",
    "group": "group",
    "job_type": "job_type",
    "sweep": "sweep_id",
    "host": "host",
    "python": "python",
}
"""Tags `<kind>.<name>` for columns of `runs` that MLflow lacks."""

Tags = dict[str, str | None]


def target(key: RunKey) -> RunRef:
    """Where a run of that origin lies in a store of MLflow's: one born there keeps its id.

    Elsewhere the same id may occur in many projects, though it looks like one of MLflow's.
    """
    run_id = key.run_id
    if key.kind != KIND or not RUN_ID.fullmatch(run_id):
        run_id = hashlib.sha256(str(key).encode()).hexdigest()[:32]
    return RunRef(fit_name(key.label, PROJECT), run_id)


def parent_of(key: RunKey, tables: Mapping[str, list[Row]]) -> str | None:
    """The id that the parent of the run in these tables has in a store of MLflow's."""
    parent = next((row.get("parent_run_id") for row in tables.get("runs", [])), None)
    return None if parent is None else target(key._replace(run_id=parent)).run_id


def present(
    key: RunKey,
    tables: Mapping[str, list[Row]],
    parent: str | None,
    *,
    has_models: bool,
    tag_length: int | None = TAG_LENGTH,
) -> Presentation:
    """MLflow's own runs as they are; others with params, tags, metrics and files as in MLflow.

    `parent` is the id that the run's parent has in MLflow; `has_models`: it knows logged models;
    `tag_length`: longer tags are cut.
    """
    run = (tables.get("runs") or [{}])[0]
    shown = {name: list(rows) for name, rows in tables.items()}
    layout = places.layout(key.kind, tables, has_models=has_models)
    tags = _tags(key, run, tables, layout)
    run = _run(key, run, tags, parent, tag_length)
    shown["runs"] = [run] if tables.get("runs") else []
    shown["params"] = _params(tables.get("params", []))
    shown["inputs"] = _inputs(key.kind, tables.get("inputs", []))
    shown["files"] = layout.rows
    shown["tags"] = [{"key": name, "value": value} for name, value in tags.items()]
    shown["artifacts"] = layout.models
    if key.kind != KIND:
        points = [*_summary(run, tables), *_switches(tables)]
        shown["metrics"] = points
        shown["summary"] = [row for row in tables.get("summary", []) if _number(row) is None]
        shown["series"] = [row for row in tables.get("series", []) if not _is_shown(row)]
        shown.pop("alerts", None)  # a file
    labels = {} if key.kind == KIND else _labels(key.kind, tables)
    losses = _guessed(key, tables)
    return Presentation(shown, layout.moved, layout.contents, labels, losses)


def _labels(kind: str, tables: Mapping[str, list[Row]]) -> dict[tuple[str, str], str]:
    """The tags that stand for bare labels, which MLflow does not know."""
    labels = (row["key"] for row in tables.get("tags", []) if row.get("value") is None)
    return {("tags", label): f"{kind}.tag.{label}" for label in labels}


def _run(key: RunKey, run: Row, tags: Tags, parent: str | None, tag_length: int | None) -> Row:
    """The run's row; `tags` are completed with those that stand for its columns."""
    wanted = {**{name: run.get(name) for name in DERIVED}, "parent_run_id": parent}
    for name, tag in DERIVED.items():
        if wanted[name] and not tags.get(tag):
            tags[tag] = wanted[name]
    for name, value in tags.items():
        tags[name] = None if value is None else fit_value(value, tag_length)
    columns = {name: wanted[name] for name in DERIVED}
    extra = unpacked(run.get("extra")) if key.kind == KIND else {}
    if extra.get("source_type") not in SOURCES.values():
        extra.pop("source_type", None)
    return {
        **run,
        **dict.fromkeys(set(INFO.values()) - {"status"}),
        **derive(columns, tags),
        "status": _state(run.get("status")),
        # MLflow cannot show a run without a start (entities/run_info.py, 3.17)
        "started": _floor(run.get("started") or run.get("ended") or EPOCH),
        "ended": _floor(run.get("ended")),
        "extra": packed({name: extra[name] for name in EXTRA if name in extra}),
    }


def _state(status: str | None) -> str:
    if status in STATES.values():
        return str(status)
    return OTHER_STATES.get(status or "", "finished")


def _guessed(key: RunKey, tables: Mapping[str, list[Row]]) -> list[Loss]:
    """Runs of which nothing says whether they have ended; other states are in a tag."""
    unknown = [run for run in tables.get("runs", []) if run.get("status") is None]
    kind = f"status shown as {_state(None)}"
    return [Loss(kind, 1, f"{key.run_id}: not known") for _ in unknown]


def _tags(key: RunKey, run: Row, tables: Mapping[str, list[Row]], layout: places.Layout) -> Tags:
    rows = tables.get("tags", [])
    if key.kind == KIND:
        return {row["key"]: row.get("value") for row in rows}
    kind, labels = key.kind, _labels(key.kind, tables)
    tags: Tags = {row["key"]: row["value"] for row in rows if row.get("value") is not None}
    tags.update(dict.fromkeys(labels.values(), "true"))
    tags.update({f"{kind}.project": key.project, f"{kind}.run_id": key.run_id})
    tags.update({f"{kind}.{name}": run[c] for name, c in INFO.items() if run.get(c)})
    for row in tables.get("inputs", []):
        if row.get("kind") != "dataset":
            tags[f"{kind}.input.{row['name']}"] = row.get("kind") or ""
    url = unpacked(run.get("extra")).get("url")
    if isinstance(url, str):
        tags[f"{kind}.url"] = url
    if run.get("program"):
        tags[SOURCE_TYPE] = "LOCAL"
    if layout.images:
        tags[IMAGES_TAG] = "True"
    if layout.tables:
        tags[TABLES_TAG] = _table_list(layout.tables)
    return tags


def _table_list(paths: list[str]) -> str:
    """As `log_table` writes it (tracking/client.py, 3.17); as many as the tag has room for."""
    listed: list[dict[str, str]] = []
    for path in paths:
        more = [*listed, {"path": path, "type": "table"}]
        if len(json.dumps(more)) > TAG_LENGTH:
            break
        listed = more
    return json.dumps(listed)


def _params(rows: list[Row]) -> list[Row]:
    """Params by flat name; where two would have the same, those with a path are marked."""
    ordered = sorted(rows, key=lambda row: (row.get("path") or "", row.get("value") or ""))
    shown: dict[str, Row] = {}
    for row in ordered:
        name = row["key"]
        while name in shown:
            name = f"{row['key']}-{short_hash(name + (row.get('path') or ''))}"
        shown[name] = {"key": name, "value": row.get("value") or "", "type": "string"}
    return list(shown.values())


def _inputs(kind: str, rows: list[Row]) -> list[Row]:
    """Datasets as MLflow logs them: it knows each one by name and digest."""
    shown: dict[tuple[str, str], Row] = {}
    for row in rows:
        if kind == KIND and _is_native_input(row):
            shown.setdefault((row["name"], row["digest"]), row)
        elif kind != KIND and row.get("kind") == "dataset":
            native = _dataset(kind, row)
            shown[native["name"], native["digest"]] = native
    return list(shown.values())


def _is_native_input(row: Row) -> bool:
    """Whether a dataset is as MLflow's own tables hold it."""
    tags = unpacked(row.get("extra"))
    return (
        all(isinstance(row.get(name), str) for name in ("name", "digest", "kind", "source"))
        and row.get("extra") == packed(tags)
        and all(isinstance(value, str) for value in tags.values())
        and CONTEXT not in tags
    )


def _dataset(kind: str, row: Row) -> Row:
    """MLflow tells datasets apart by name and digest, so the digest is made to cover the rest."""
    native = {
        "name": row["name"][:500],
        "kind": kind,
        "source": row.get("source") or row["name"],
        "schema": row.get("schema"),
        "profile": row.get("profile"),
    }
    mark = short_hash(json.dumps([row["name"], native], sort_keys=True))
    return {
        **native,
        "digest": f"{(row.get('digest') or '')[:27]}-{mark}".lstrip("-"),
        "context": row.get("context"),
        "extra": packed({f"{kind}.digest": row["digest"]} if row.get("digest") else {}),
    }


def _summary(run: Row, tables: Mapping[str, list[Row]]) -> list[Row]:
    """A point for each number of the summary that says more than its metric's last point."""
    time = run.get("ended") or run.get("started") or EPOCH
    last = {row["key"]: row["value"] for row in tables.get("metrics", [])}
    rows = tables.get("summary", [])
    media = {_path(row)[:-1] for row in rows if _path(row)[-1] == "_type"}
    found = ((row, _number(row)) for row in rows)
    return [
        {"key": f"summary/{row['key']}", "step": 0, "time": time, "value": number, "system": False}
        for row, number in found
        if number is not None
        and not _same(number, last.get(row["key"]))
        and not any(_path(row)[:end] in media for end in range(1, len(_path(row))))
    ]


def _path(row: Row) -> tuple[str, ...]:
    return tuple(json.loads(row["path"])) if row.get("path") else (row["key"],)


def _same(number: float, other: float | None) -> bool:
    return number == other or (other is not None and math.isnan(number) and math.isnan(other))


def _number(row: Row) -> float | None:
    """The value of a summary leaf, if it is to be shown."""
    if row.get("type") not in ("integer", "float") or row["key"].startswith("_"):
        return None
    try:
        return float(json.loads(row["value"]))
    except (ValueError, TypeError, OverflowError):
        return None


def _is_shown(row: Row) -> bool:
    """Whether a point of a series is to be seen as a metric or as a file."""
    return row["kind"] == "boolean" or any(places.paths(row))


def _switches(tables: Mapping[str, list[Row]]) -> list[Row]:
    """Points of boolean series as 0 and 1."""
    return [
        {
            "key": row["key"],
            "step": row.get("step"),
            "time": row.get("time"),
            "value": float(row["value"] == "true"),
            "system": False,
        }
        for row in tables.get("series", [])
        if row["kind"] == "boolean"
    ]


def _floor(time: datetime | None) -> datetime | None:
    """A time in MLflow's resolution, which is milliseconds."""
    return None if time is None else time.replace(microsecond=time.microsecond // 1000 * 1000)
