"""How a run of any origin is shown to users of MLflow: where its files are put."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from trackbridge.adapter import Row
from trackbridge_adapters.mlflow import models
from trackbridge_adapters.mlflow.entities import KIND, milliseconds, short_hash

IMAGE_ENDINGS = (".png", ".webp")
"""What MLflow's image grid shows (server/js, reducer `imagesByRunUuid`, 3.17)."""

AS_THEY_ARE = ("media", "code")
"""Folders of a run that keep their name; its other files go to `files`."""

_HOSTILE = re.compile(r"[\\\0:]")
NAME_BYTES = 200
"""Longest name of a file or folder: file systems allow 255 bytes."""

Place = tuple[str, str]


@dataclass
class Layout:
    """Where files go: `rows` as MLflow has them, `moved` from (owner, path) to (owner, path)."""

    rows: list[Row] = field(default_factory=list)
    moved: dict[Place, Place] = field(default_factory=dict)
    contents: dict[Place, bytes] = field(default_factory=dict)
    images: bool = False
    tables: list[str] = field(default_factory=list)
    models: list[Row] = field(default_factory=list)
    """Rows of `artifacts` that are logged models of MLflow's own."""


def layout(kind: str, tables: Mapping[str, list[Row]], *, has_models: bool) -> Layout:
    """The files of a run in MLflow; references to files elsewhere are listed in `contents`."""
    result = Layout()
    if kind == KIND and has_models:
        result.models = [row for row in tables.get("artifacts", []) if models.is_native(row)]
    made = [models.owner(r["collection"], r["version"]) for r in result.models if models.is_made(r)]
    files = [row for row in tables.get("files", []) if not row.get("reference")]
    media = {} if kind == KIND else _media(tables.get("series", []))
    taken: set[Place] = set()
    for row in sorted(files, key=_place):
        here = _place(row)
        path = _safe(_plain(*here) if kind != KIND or here[0] else row["path"])
        owner = ""
        if here[0] in made:
            owner, path = here[0], _safe(row["path"])
        elif here in media:
            path = media[here]
            result.images |= path.startswith("images/")
            result.tables += [path] if path.startswith("tables/") else []
        while (owner, path) in taken:
            path += f"_{short_hash(str(here))}"
        there = (owner, path)
        taken.add(there)
        if there != here:
            result.moved[here] = there
        size, sha256 = row.get("size"), row.get("sha256")
        result.rows.append({"owner": owner, "path": path, "size": size, "sha256": sha256})
    if kind != KIND:
        result.contents = dict(_contents(tables))
    return result


def _place(row: Row) -> Place:
    return row.get("owner") or "", row["path"]


def _plain(owner: str, path: str) -> str:
    """Where a file goes that MLflow has no special place for."""
    if owner:
        collection, _, version = owner.rpartition(":")
        return f"artifacts/{_name(collection)}/{_name(version)}/{path}"
    top, slash, _ = path.partition("/")
    if path == "output.log" or (slash and top in AS_THEY_ARE):
        return path
    return f"files/{path}"


def _media(series: list[Row]) -> dict[Place, str]:
    """Places of images and tables that points of the run name; the first point decides."""
    found: dict[Place, str] = {}
    for row in series:
        for path in paths(row):
            mark = short_hash(path)
            key = re.sub(r"[^\w.\- ~]", "_", row["key"].replace("/", "~"), flags=re.ASCII)[:100]
            step, time = row.get("step") or 0, milliseconds(row.get("time")) or 0
            ending = path[path.rfind(".") :].lower()
            place = None
            if row["kind"] == "image" and ending in IMAGE_ENDINGS:
                # as `log_image` names them (tracking/client.py, 3.17), the id made from the path
                place = f"images/{key}+step+{step}+timestamp+{time}+{mark}{ending}"
            elif row["kind"] == "table" and ending == ".json":
                place = f"tables/{key}-step-{step}-{mark}.json"
            if place:
                found.setdefault(("", path), place)
    return found


def paths(row: Row) -> Iterator[str]:
    """The files of a point: one, or several that its value lists."""
    if row.get("path"):
        yield row["path"]
    elif row["kind"] == "image" and row.get("value"):
        value = parsed(row["value"])
        names = value.get("filenames") if isinstance(value, dict) else None
        yield from (name for name in names or () if isinstance(name, str))


def _contents(tables: Mapping[str, list[Row]]) -> Iterator[tuple[Place, bytes]]:
    alerts = [parsed(row["definition"]) for row in tables.get("alerts", [])]
    if alerts:
        yield ("", "alerts.json"), _json(alerts)
    references: dict[str, dict[str, str]] = {}
    for row in tables.get("files", []):
        if row.get("reference"):
            references.setdefault(row.get("owner") or "", {})[row["path"]] = row["reference"]
    names = ("collection", "version", "kind", "aliases", "digest", "direction", "description")
    listed = [
        {name: row.get(name) for name in (*names, "metadata")}
        for row in tables.get("artifacts", [])
    ]
    if listed or references:
        yield ("", "artifacts.json"), _json({"artifacts": listed, "references": references})


def parsed(content: str | None) -> Any:
    """JSON as what it says; what is none as the text that it is."""
    try:
        return json.loads(content or "null")
    except ValueError:
        return content


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).encode()


def _safe(path: str) -> str:
    """A path whose parts are plain names on every system; itself where it is that already."""
    return "/".join(_name(part) for part in path.split("/"))


def _name(part: str) -> str:
    name = _HOSTILE.sub("_", part)
    if name in ("", ".", ".."):
        name = "_"
    raw = name.encode()
    if name == part and len(raw) <= NAME_BYTES:
        return part
    return f"{raw[:NAME_BYTES].decode(errors='ignore')}_{short_hash(part)}"
