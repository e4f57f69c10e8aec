"""Files that an export has: what they are called in the run model, and where their bytes are."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from trackbridge.adapter import Names, Row
from trackbridge.fit_paths import Paths
from trackbridge.fit_text import fit_name
from trackbridge_adapters.neptune.facts import Facts, File
from trackbridge_adapters.neptune.layout import Layout
from trackbridge_adapters.neptune.steps import step_text

LIMITS = Names(alphabet=r"\x01-\[\]-\U0010ffff", shortest=True)
"""Paths that stay below their folder on any system."""
MEDIA = ("image", "audio", "video")
FORMATS = {"text/html": "html"}
BYTES = ".bin"
"""What the exporter appends where Neptune knew no type (neptune-query 1.14, `files.py`)."""


@dataclass
class Contents:
    """The files of a run."""

    rows: list[Row] = field(default_factory=list)
    points: list[tuple[File, Row]] = field(default_factory=list)
    """Files of series, and what of their rows in `series` does not depend on steps."""
    places: dict[str, Path] = field(default_factory=dict)
    damage: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(row["size"] or 0 for row in self.rows)


def look(facts: Facts, layout: Layout) -> Contents:
    """Every file that a run's rows name, with its size where its bytes are there."""
    found, names = Contents(), Paths(LIMITS)
    for file in facts.files:
        try:
            place = _place(file, layout)
            entries = list(_entries(file, place))
        except (OSError, ValueError) as error:
            found.damage.append(f"{file.attribute}: {file.place!r}: {error}")
            continue
        for name, path in entries:
            called = names.place(fit_name(name, LIMITS))
            while called in found.places:  # one name for two files of a series
                name += "_"
                called = names.place(fit_name(name, LIMITS))
            _add(found, file, called, path)
    return found


def _add(found: Contents, file: File, called: str, path: Path) -> None:
    size = path.stat().st_size if path.is_file() else None
    media_type = mimetypes.guess_type(called)[0]
    row = {"owner": "", "path": called, "size": size, "media_type": media_type}
    found.rows.append(row)
    found.places[called] = path
    if file.kind == "file_series":
        kind, value = _point(called, media_type, size)
        text = json.dumps(value, ensure_ascii=False)
        found.points.append((file, {"kind": kind, "value": text, "path": called}))


def _point(called: str, media_type: str | None, size: int | None) -> tuple[str, dict[str, Any]]:
    """Kind and value of a point whose content is a file, in the words of W&B where it has any."""
    family = (media_type or "").partition("/")[0]
    kind = family if family in MEDIA else FORMATS.get(media_type or "", "json")
    shape: dict[str, Any] = {"_type": f"{kind}-file" if kind != "json" else "file", "path": called}
    if size is not None:
        shape["size"] = size
    if kind == "image":
        shape["format"] = called.rpartition(".")[2]
    return kind, shape


def _place(file: File, layout: Layout) -> Path:
    """Where a file is, or would be; `ValueError` for one outside of the export's files."""
    place = PurePosixPath(file.place.replace("\\", "/"))
    if place.is_absolute() or ".." in place.parts or not place.parts or ":" in place.parts[0]:
        raise ValueError("leads out of the export and is not read")
    names = dict.fromkeys((file.place, place.as_posix()))  # the second: exported on Windows
    paths = [(root, root / name) for root in layout.files(file.part) for name in names]
    for root, path in paths:
        if path.exists():
            if not path.resolve().is_relative_to(root.resolve()):
                raise ValueError("leads out of the export and is not read")
            return path
    return paths[0][1]


def _entries(file: File, place: Path) -> Iterator[tuple[str, Path]]:
    """Names and places of the files that a row means: one, or all in a folder."""
    if place.is_dir():
        for path in sorted(place.rglob("*")):
            if path.is_file() and path.resolve().is_relative_to(place.resolve()):
                yield f"{file.attribute}/{path.relative_to(place).as_posix()}", path
        return
    if file.kind == "file_set" and not place.exists():
        raise ValueError("the folder is not there")
    yield _name(file, place), place


def _name(file: File, place: Path) -> str:
    """What a file is called: its attribute, its step, and the end of its name in the export."""
    end = place.suffix if place.suffix != BYTES else ""
    if file.kind == "artifact":
        return f"{file.attribute}/{place.name}"
    if file.kind == "file_series":
        step = "none" if file.step is None else step_text(file.step)
        return f"{file.attribute}/step_{step}{end}"
    has_end = bool(PurePosixPath(file.attribute).suffix)
    return file.attribute if has_end else file.attribute + end
