"""Registered models and their versions, written into a file store."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from trackbridge.adapter import Names, Row
from trackbridge.fit_text import fit_name
from trackbridge_adapters.mlflow import folders, models
from trackbridge_adapters.mlflow.entities import (
    VERSION_EXTRA,
    VERSION_TAG,
    milliseconds,
    native_extra,
    native_tags,
    unpacked,
)
from trackbridge_adapters.mlflow.files_small import as_files, write_meta, write_values
from trackbridge_adapters.mlflow.files_staging import Staging
from trackbridge_adapters.mlflow.folders import META, MODELS

NAME = Names(200, r" -$&-.0-9;-\[\]-\U0010ffff", paths=True)
"""Names of models are those of folders, without `/`, `:` and `%` (as in MLflow 3.17)."""


class Registry:
    """The registry as a chunk sees it that is being committed."""

    def __init__(self, staging: Staging, experiments: Sequence[Path]) -> None:
        self._staging, self._experiments = staging, experiments
        self._root = staging.root / MODELS
        self._paths: dict[str, Path] = {}
        self._numbers: dict[str, dict[str, int]] = {}
        for path in folders.subfolders(self._root):
            meta = folders.read_yaml(path / META, "", [])
            self._paths[str(meta.get("name") or path.name)] = path

    def write(self, rows: Sequence[Row], versions: Sequence[Row]) -> None:
        """Give models and versions the values of their rows; others are left alone."""
        named = {row["name"]: row for row in rows}
        for row in versions:
            if row["name"] not in self._paths and row["name"] not in named:
                named[row["name"]] = {"name": row["name"]}
        for row in versions:
            self._write_version(row)
        for row in named.values():
            self._write_model(row)

    def _write_model(self, row: Row) -> None:
        name = row["name"]
        path = self._path(name)
        _, hidden = native_extra(row.get("extra"), ())
        numbers = self._known(name)
        aliases = {
            alias: str(numbers.get(version, version))
            for alias, version in unpacked(row.get("aliases")).items()
        }
        meta = {
            "name": name,
            "creation_timestamp": milliseconds(row.get("created")),
            "last_updated_timestamp": milliseconds(row.get("updated")),
            "description": row.get("description"),
            "aliases": aliases,
        }
        tags = as_files({**native_tags(row.get("tags")), **hidden})
        for part, values in (("tags", tags), ("aliases", aliases)):
            staged = self._staging.place()
            staged.mkdir()
            write_values(staged, values)
            self._staging.put(staged, path / part)
        staged = self._staging.place()
        write_meta(staged, meta)
        self._staging.put(staged / META, path / META)

    def _write_version(self, row: Row) -> None:
        number = self._number(row["name"], row["version"])
        own, hidden = native_extra(row["extra"], VERSION_EXTRA)
        meta: dict[str, Any] = {
            "name": row["name"],
            "version": number,
            "creation_timestamp": milliseconds(row["created"]),
            "last_updated_timestamp": milliseconds(row["updated"]),
            "description": row["description"],
            "user_id": row["user"],
            "current_stage": row["stage"],
            "run_id": row["run_id"],
            "status": row["status"],
            **self._places(row),
            **own,
        }
        tags = {**native_tags(row["tags"]), **hidden}
        if row["version"] != str(number):
            tags[VERSION_TAG] = row["version"]
        staged = self._staging.place()
        write_meta(staged, meta)
        (staged / "tags").mkdir()
        write_values(staged / "tags", as_files(tags))
        self._staging.put(staged, self._path(row["name"]) / f"version-{number}")

    def _path(self, name: str) -> Path:
        if name not in self._paths:
            self._paths[name] = self._root / fit_name(name, NAME)
        return self._paths[name]

    def _number(self, name: str, version: str) -> int:
        """The number of a version in MLflow, which knows only numbers: its own, if it has one."""
        known = self._known(name)
        if version not in known:
            digits = re.fullmatch(r"[vV]?([1-9][0-9]{0,8})", version)
            wish = int(digits[1]) if digits else 0
            taken = set(known.values())
            free = max(taken, default=0) + 1
            known[version] = wish if wish and wish not in taken else free
        return known[version]

    def _known(self, name: str) -> dict[str, int]:
        """Numbers of a model's versions by the names that they came with."""
        if name not in self._numbers:
            self._numbers[name] = dict(_versions(self._path(name)))
        return self._numbers[name]

    def _places(self, row: Row) -> dict[str, str | None]:
        """Where the files of a version lie: below those of its run or model, if these are here."""
        source = row["source"] or ""
        logged = re.fullmatch(r"models:/(m-[0-9a-f]+)", source)
        if logged:
            path = self._find(models.FOLDER, logged[1])
            place = None if path is None else f"{self._uri(path)}/artifacts"
            return {"source": source, "storage_location": place}
        below = re.search(r"/(\w+)/artifacts(?:\.\d+)?(/.*)?$", source)
        path = self._find(row["run_id"] or below[1]) if below else None
        if below and path is not None:
            source = f"{self._uri(path)}/artifacts{below[2] or ''}"
        return {"source": source, "storage_location": source}

    def _find(self, *parts: str) -> Path | None:
        """A run's or model's folder; None where it is not here."""
        places = (path.joinpath(*parts) for path in self._experiments)
        return next((place for place in places if (place / META).is_file()), None)

    def _uri(self, path: Path) -> str:
        """What MLflow calls a folder, also while its experiment is deleted."""
        experiment = path.relative_to(self._staging.root).parts
        inside = [part for part in experiment if part != folders.TRASH]
        return "/".join([self._staging.root.absolute().as_uri(), *inside])


def _versions(model: Path) -> Iterator[tuple[str, int]]:
    for path in folders.subfolders(model):
        number = path.name.removeprefix("version-")
        if number != path.name and number.isdigit():
            tags = dict(folders.values(path / "tags", "", []))
            yield tags.get(VERSION_TAG) or number, int(number)
