"""Experiments of a file store: found by label, made, and brought up to date."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trackbridge.adapter import Row
from trackbridge_adapters.mlflow.entities import NOTE, milliseconds, native_extra, native_tags
from trackbridge_adapters.mlflow.files_small import as_files, write_meta, write_values
from trackbridge_adapters.mlflow.files_staging import Staging
from trackbridge_adapters.mlflow.folders import META, TRASH, Experiment

EXTRA = ("last_update_time",)
DIGITS = 18
"""Length of a number that MLflow gives (utils/name_utils.py, 3.17); also the longest that it and
databases take."""


class Place(NamedTuple):
    """An experiment's id, its folder, and the URI below which MLflow sees its artifacts."""

    number: str
    folder: Path
    uri: str


class Experiments:
    """The experiments as a chunk sees them that is being committed."""

    def __init__(self, staging: Staging, there: Sequence[Experiment]) -> None:
        self._staging, self._root = staging, staging.root
        self._meta = {experiment.label: experiment.meta for experiment in there}
        self._places = {experiment.label: experiment.path for experiment in there}

    def write(self, rows: Sequence[Row]) -> None:
        """Make experiments that are not there, and give all of them the values of their rows."""
        for row in rows:
            tags, meta = _values(row)
            if row["project"] in self._places:
                self._update(row, meta, tags)
            else:
                self._create(row["project"], row["project_id"], meta, tags)

    def find(self, label: str) -> Place:
        """The experiment of that label, made if it is not there."""
        if label not in self._places:
            now = int(time.time() * 1000)
            meta = {"creation_time": now, "last_update_time": now, "lifecycle_stage": "active"}
            self._create(label, None, meta, {})
        path = self._places[label]
        return Place(path.name, path, f"{self._root.absolute().as_uri()}/{path.name}")

    def _create(
        self, label: str, wish: str | None, meta: dict[str, Any], tags: dict[str, str | None]
    ) -> None:
        """A new experiment as `create_experiment` makes it (file_store.py, 3.17)."""
        taken = {path.name for path in self._places.values()}
        number = wish if wish and _is_number(wish) and wish not in taken else ""
        while not number or number in taken or (self._root / number).exists():
            number = str(uuid.uuid4().int)[:DIGITS]
        staged, place = self._staging.place(), self._home(meta) / number
        location = f"{self._root.absolute().as_uri()}/{number}"
        values = {"artifact_location": location, "experiment_id": number, "name": label, **meta}
        write_meta(staged, values)
        write_values(staged / "tags", tags)
        self._staging.put(staged, place)
        self._places[label], self._meta[label] = place, values

    def _update(self, row: Row, meta: dict[str, Any], tags: dict[str, str | None]) -> None:
        path = self._places[row["project"]]
        self._meta[row["project"]] = {**self._meta[row["project"]], **meta}
        staged = self._staging.place()
        write_meta(staged, self._meta[row["project"]])
        (staged / "tags").mkdir()
        write_values(staged / "tags", tags)
        for name in ("tags", META):
            self._staging.put(staged / name, path / name)
        home = self._home(meta)
        if path.parent != home:
            self._staging.move(path, home / path.name)
            self._places[row["project"]] = home / path.name

    def _home(self, meta: dict[str, Any]) -> Path:
        return self._root / TRASH if meta["lifecycle_stage"] == "deleted" else self._root


def _values(row: Row) -> tuple[dict[str, str | None], dict[str, Any]]:
    """Tags and values of the meta.yaml of an experiment."""
    own, hidden = native_extra(row["extra"], EXTRA)
    tags = {**native_tags(row["tags"]), **hidden}
    if row["notes"] is not None:
        tags[NOTE] = row["notes"]
    return as_files(tags), {
        "creation_time": milliseconds(row["created"]),
        "last_update_time": own["last_update_time"],
        "lifecycle_stage": "deleted" if row["deleted"] else "active",
    }


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= DIGITS
