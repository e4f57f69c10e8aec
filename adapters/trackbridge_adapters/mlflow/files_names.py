"""How a run is shown in a file store, where keys are names of files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trackbridge.adapter import Presentation, Row
from trackbridge.fit_paths import Paths
from trackbridge.fit_text import fit_name
from trackbridge_adapters.mlflow.capabilities import FILES
from trackbridge_adapters.mlflow.entities import DERIVED, packed, unpacked

KEYED = ("params", "tags")


def settled(shown: Presentation) -> Presentation:
    """The same with keys that are kept apart as files, values that are text, models as folders."""
    tables = dict(shown.tables)
    renamed: dict[tuple[str, str], str] = {}
    for table in KEYED:
        names = _places(table, [row["key"] for row in tables.get(table, [])])
        renamed.update(((table, old), new) for old, new in names.items())
        tables[table] = [
            {**row, "key": names.get(row["key"], row["key"]), "value": row.get("value") or ""}
            for row in tables.get(table, [])
        ]
    tables["artifacts"] = [_model(row) for row in tables.get("artifacts", [])]
    keys = {place: renamed.get((place[0], key), key) for place, key in shown.keys.items()}
    return Presentation(tables, shown.files, shown.contents, {**renamed, **keys}, shown.losses)


def _places(table: str, keys: list[str]) -> dict[str, str]:
    """New keys of those that would stand in another one's way; MLflow's own tags keep theirs."""
    limits = FILES.names[table]
    paths = Paths(limits)
    found = {}
    for key in sorted(keys, key=lambda key: (key not in DERIVED.values(), key)):
        fitted = fit_name(key, limits)
        if (place := paths.place(fitted)) != fitted:
            found[key] = place
    return found


def _model(row: Row) -> Row:
    """A logged model with params, tags and metrics whose names can be those of files."""
    metadata = unpacked(row.get("metadata"))
    for table, limits in (("params", FILES.names["params"]), ("tags", FILES.names["tags"])):
        paths = Paths(limits)
        metadata[table] = {
            paths.place(fit_name(name, limits)): value or ""
            for name, value in sorted(metadata.get(table, {}).items())
        }
    metadata["metrics"] = sorted(_points(row, metadata.get("metrics", [])), key=repr)
    return {**row, "metadata": packed({n: v for n, v in metadata.items() if v not in ({}, [])})}


def _points(row: Row, points: list[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Points as lines of words: MLflow cannot read those with blanks in a dataset's name."""
    paths = Paths(FILES.names["params"])
    for point in sorted(points, key=lambda point: str(point["key"])):
        words = [point.get(name) for name in ("dataset_name", "dataset_digest")]
        kept = dict(point)
        if not all(_is_word(word) for word in words):
            kept.pop("dataset_name", None)
            kept.pop("dataset_digest", None)
        if not _is_word(kept.get("run_id")):
            kept["run_id"] = row["run_id"] if _is_word(row.get("run_id")) else "-"
        kept["key"] = paths.place(fit_name(point["key"], FILES.names["params"]))
        if {"value", "timestamp", "step"} <= kept.keys():
            yield kept


def _is_word(text: Any) -> bool:
    return isinstance(text, str) and text.split() == [text]
