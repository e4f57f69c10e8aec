"""The rows of some runs, table by table; those of `runs` last, when it is known what is damaged."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from trackbridge.adapter import Batch, Row, RunRef
from trackbridge.columns import batches
from trackbridge.digest import ZERO, Digest, Digests
from trackbridge.optional import Excerpt
from trackbridge_adapters.neptune import console, facts, points, tables
from trackbridge_adapters.neptune.facts import Facts
from trackbridge_adapters.neptune.homes import HISTOGRAMS, METRICS, TEXTS
from trackbridge_adapters.neptune.parts import Part
from trackbridge_adapters.neptune.steps import MILLION, Scale, scales
from trackbridge_adapters.neptune.store import Store

WHOLE = frozenset({"runs", "params", "tags", "files", "series", "logs"})
"""Tables that take looking through all rows but those of metrics."""

COMPARED = ("metrics", "series", "logs", "files")
"""Tables that copies of a run are compared in, beside its attributes."""


class Reading:
    """Some runs of a store."""

    def __init__(self, store: Store, refs: Sequence[RunRef]) -> None:
        self._store, self._refs = store, list(dict.fromkeys(refs))
        self._parts = store.parts_of(self._refs)
        self._damage: dict[RunRef, list[str]] = {ref: [] for ref in self._refs}
        self._notes: dict[RunRef, list[dict[str, Any]]] = {}

    def batches(self, wanted: Collection[str]) -> Iterator[Batch]:
        found = facts.scan(self._parts, self._refs) if WHOLE.intersection(wanted) else {}
        for ref, known in found.items():
            self._damage[ref] += known.damage
        if "metrics" in wanted:
            yield from self.metrics()
        if "series" in wanted:
            yield from self._series(found)
        if "logs" in wanted or "runs" in wanted:
            for batch in self._logs(found):
                if "logs" in wanted:
                    yield batch
        for table in ("params", "tags", "files", "runs"):
            if table in wanted:
                rows = (row for ref in self._refs for row in self._rows(table, ref, found[ref]))
                yield from batches(table, rows)

    def metrics(self, excerpt: Excerpt = points.EVERYTHING) -> Iterator[Batch]:
        """All points, or those of an excerpt."""
        if excerpt.keys is None:
            known = self._scales(METRICS)
        else:
            known = scales(self._parts, self._refs, {METRICS}, excerpt.keys)
        yield from points.metrics(self._parts, known, self._damage, excerpt)

    def _scales(self, *types: str) -> dict[RunRef, Scale]:
        return self._store.remembered(
            types, self._refs, lambda refs: scales(self._store.parts_of(refs), refs, types)
        )

    def _series(self, found: dict[RunRef, Facts]) -> Iterator[Batch]:
        yield from points.series(self._parts, self._scales(TEXTS, HISTOGRAMS), self._damage)
        for ref, known in found.items():
            contents = self._store.contents(ref, known)
            yield from points.file_points(ref, contents, _file_scale(known))

    def _logs(self, found: dict[RunRef, Facts]) -> Iterator[Batch]:
        for ref, known in found.items():
            if known.console:
                made, self._notes[ref] = console.logs(
                    ref, self._store.parts_of([ref]), self._damage[ref]
                )
                yield from made

    def _rows(self, table: str, ref: RunRef, known: Facts) -> Sequence[Row]:
        if table == "params":
            rows = tables.params(known)
        elif table == "tags":
            rows = tables.tags(known)
        elif table == "files":
            rows = self._store.contents(ref, known).rows
        else:
            rows = [tables.run_row(ref, known, self._extra(ref, known), self._store.layout.data)]
        return tables.labelled(rows, ref)

    def _extra(self, ref: RunRef, known: Facts) -> dict[str, Any]:
        """What of a run no column has."""
        fine = set(_file_scale(known).fine)
        for types in ((METRICS,), (TEXTS, HISTOGRAMS)):
            fine |= self._scales(*types)[ref].fine
        fine = {path for path in fine if not facts.is_console(path)}
        damage = [
            *self._store.damage.get(ref, ()),
            *_copies(self._store, ref, known),
            *self._damage[ref],
            *self._store.contents(ref, known).damage,
            *self._store.failures.get(ref, ()),
            *(
                f"{count} rows of the type {kind!r} are not known and not read"
                for kind, count in sorted(known.strange.items())
            ),
            *(
                f"{path}: {count + 1} values are there; the last one is read"
                for path, count in sorted(known.again.items())
            ),
        ]
        return {
            "damage": list(dict.fromkeys(damage)),
            "console": self._notes.get(ref),
            "steps_in_millionths": sorted(fine),
        }


def _copies(store: Store, ref: RunRef, known: Facts) -> Iterator[str]:
    """What copies of a run are not read, and what they have that is not the same."""
    others = store.copies.get(ref, {})
    read = _told(store, ref, store.runs[ref]) if others else {}
    for parts in others.values():
        [(_, other)] = facts.scan(parts, [ref]).items()
        there = _told(store, ref, parts)
        unlike = [
            f"{table} ({there.get(table, ZERO).rows} rows, not {read.get(table, ZERO).rows})"
            for table in COMPARED
            if there.get(table, ZERO) != read.get(table, ZERO)
        ]
        if repr(sorted(other.attributes.items())) != repr(sorted(known.attributes.items())):
            unlike.append(f"attributes ({len(other.attributes)}, not {len(known.attributes)})")
        what = f"the run again, with other {', '.join(unlike)}" if unlike else "the same run again"
        yield f"{_places(store, parts)}: {what}; what is read is {_places(store, store.runs[ref])}"


def _places(store: Store, parts: list[Part]) -> str:
    return ", ".join(part.path.relative_to(store.layout.home).as_posix() for part in parts)


def _told(store: Store, ref: RunRef, parts: list[Part]) -> dict[str, Digest]:
    """The digest of each table of points and files, as some files have them."""
    found, alone = Digests(), Store(store.layout, runs={ref: parts})
    for batch in Reading(alone, [ref]).batches(COMPARED):
        found.add(batch)
    tables: dict[str, Digest] = {}
    for place, digest in found[ref].items():
        tables[place.table] = tables.get(place.table, ZERO) + digest
    return tables


def _file_scale(known: Facts) -> Scale:
    """Which series of files have steps that are no whole numbers."""
    fine = {file.attribute for file in known.files if file.step and file.step % MILLION}
    return Scale(frozenset(fine))
