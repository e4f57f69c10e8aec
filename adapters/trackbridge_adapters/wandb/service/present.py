"""How a run is shown on a server: what is left of a run folder once it was uploaded.

Measured with `wandb sync` of 0.31: config and summary are spelled anew, of a history nulls and
empty objects are dropped, and some files are written over by the client's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from trackbridge.adapter import Presentation, Row, RunKey, RunRef
from trackbridge.losses import Loss
from trackbridge_adapters.wandb import jsontext, tables, translate
from trackbridge_adapters.wandb.encode import extra_of
from trackbridge_adapters.wandb.kinds import kind_of
from trackbridge_adapters.wandb.service.canonical import UNSPELLED, canonical
from trackbridge_adapters.wandb.service.node import REWRITTEN, UNPLACED
from trackbridge_adapters.wandb.unseen import unseen

UNTOLD = ("best", "copy")
"""Aggregates that the client leaves out of what it tells of metrics (measured, 0.31)."""
ASIDE = "original/"
"""Folder for files of a run that are called like what the client makes itself."""


def present(key: RunKey, ref: RunRef, given: Mapping[str, list[Row]]) -> Presentation:
    """What reading the run back from the server gives."""
    shown = translate.present(key, ref, given)
    found = shown.tables
    found["runs"] = [_run_row(ref, found["runs"][0], given["runs"][0])]
    found["params"] = [row for row in _spelled(found["params"]) if row["type"] != "object"]
    found["summary"] = list(_summary(found["summary"]))
    found["series"] = list(_series(found["series"]))
    found["metric_defs"] = list(_metrics(found["metric_defs"]))
    found["artifacts"] = [_artifact(row) for row in found["artifacts"]]
    _set_aside(shown)
    found["files"] = [_file(row) for row in found["files"]]
    shown.losses = [*unseen(key, given, found).list(), *_of_upload(key, given["runs"][0])]
    return shown


def _of_upload(key: RunKey, row: Row) -> Iterator[Loss]:
    """What the server's pages show of the upload; the run's own is in our entry of its config."""
    own = [f"{name} {row[name]}" for name in ("started", "ended", "user") if row.get(name)]
    if own:
        yield Loss("start, end and user shown as those of the upload", 1, f"{key.run_id}: {own[0]}")


def _run_row(ref: RunRef, row: Row, given: Row) -> Row:
    """A name is always there; a run that has not ended is one that failed."""
    return {
        **row,
        "name": row["name"] or ref.run_id,
        "status": "finished" if row["status"] == "finished" else "failed",
        **{name: given.get(name) or None for name in UNPLACED},
        "extra": None,
    }


def _spelled(rows: Iterable[Row]) -> Iterator[Row]:
    """Leaves of a tree in the one spelling of their values."""
    for row in rows:
        value = row["value"]
        if row["type"] in (None, "string") or value is None:
            yield row
            continue
        kind, text = jsontext.leaf(canonical(value))
        yield {**row, "type": kind, "value": text}


def _summary(rows: Iterable[Row]) -> Iterator[Row]:
    """The step is what the client says it is; what is null is not there."""
    for row in _spelled(rows):
        alone = not row.get("path")
        if not alone or (row["key"] != "_step" and row["type"] != "null"):
            yield row


def _series(rows: Iterable[Row]) -> Iterator[Row]:
    """Points that are read as what they are, live and exported alike."""
    for row in rows:
        text = row["value"]
        if row["kind"] in ("null", "integer") or text in UNSPELLED:
            continue
        text = canonical(text)
        kind, path = kind_of(text)
        if kind and text != "{}":
            yield {**row, "value": text, "kind": kind, "path": path}


def _metrics(rows: Sequence[Row]) -> Iterator[Row]:
    """The client tells of most aggregates, and of no pattern that is also the name of a metric."""
    names = {row["key"] for row in rows if not row["glob"]} | {row["x_axis"] for row in rows}
    for row in rows:
        if row["key"] and not (row["glob"] and row["key"] in names):
            told = [name for name in (row["summary"] or "").split(",") if name not in UNTOLD]
            yield {**row, "summary": ",".join(told) or None, "extra": None}


def _artifact(row: Row) -> Row:
    tags = extra_of(row).get("tags")
    metadata = row.get("metadata")
    return {
        **row,
        "digest": None,
        "metadata": None if metadata in (None, "{}") else canonical(metadata),
        "extra": tables.compact({"tags": tags}),
    }


def _set_aside(shown: Presentation) -> None:
    """Files that the client would write over lie in a folder of their own."""
    origins = {there: here for here, there in shown.files.items()}
    rows = []
    for row in shown.tables["files"]:
        place = (row.get("owner") or "", row["path"])
        if not place[0] and place[1] in REWRITTEN:
            row = {**row, "path": f"{ASIDE}{place[1]}"}
            shown.files[origins.get(place, place)] = ("", row["path"])
        rows.append(row)
    shown.tables["files"] = rows


def _file(row: Row) -> Row:
    """Of references, what is needed to follow them."""
    extra: dict[str, Any] = extra_of(row)
    extra.pop("birth_artifact_id", None)
    return {**row, "media_type": None, "extra": tables.compact(extra)}
