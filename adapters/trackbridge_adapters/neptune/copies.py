"""Runs that an export has several times: which of their copies is read, and what others say.

The exporter writes into other files since November 2025 (decision 0041), so one that was called
again later, or a project's folder that somebody copied, holds the points of a run twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from trackbridge.adapter import RunRef
from trackbridge_adapters.neptune import facts
from trackbridge_adapters.neptune.layout import run_name, without_digest
from trackbridge_adapters.neptune.parts import Part


class Place(NamedTuple):
    """Where one copy of a run lies: a folder, and which layout its files there are of."""

    folder: Path
    age: int
    """0: files of several runs; 1: files of runs; 2: files whose names have a digest."""

    @classmethod
    def of(cls, path: Path) -> Place:
        name = run_name(path)
        return cls(path.parent, 0 if name is None else 1 + (without_digest(name) != name))


def by_run(parts: Iterable[Part]) -> dict[RunRef, dict[Place, list[Part]]]:
    """The copies of each run; files of one place are one copy."""
    found: dict[RunRef, dict[Place, list[Part]]] = {}
    for part in parts:
        for ref in part.runs:
            found.setdefault(ref, {}).setdefault(Place.of(part.path), []).append(part)
    return found


def ranked(
    several: Mapping[RunRef, Mapping[Place, list[Part]]], broken: Collection[Path]
) -> dict[RunRef, list[Place]]:
    """The copies of runs that have several, the one to read first.

    That is the one with most points and values; of equal ones one without damage, then one of the
    newest layout. `broken`: files that are, or of whose company some are.
    """
    files: dict[Place, dict[Path, Part]] = {}
    runs: dict[Place, list[RunRef]] = {}
    for ref, copies in several.items():
        for place, parts in copies.items():
            files.setdefault(place, {}).update((part.path, part) for part in parts)
            runs.setdefault(place, []).append(ref)
    ranks: dict[RunRef, list[tuple[tuple[int, ...], Place]]] = {}
    for place in sorted(files):
        for ref, known in facts.scan(files[place].values(), runs[place]).items():
            values = len(known.attributes) + len(known.files)
            sound = not any(part.path in broken for part in several[ref][place])
            rank = known.points, values, sound, place.age
            ranks.setdefault(ref, []).append((rank, place))
    return {
        ref: [place for _, place in sorted(ranking, key=lambda ranked: ranked[0], reverse=True)]
        for ref, ranking in ranks.items()
    }
