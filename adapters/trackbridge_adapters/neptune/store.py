"""Which runs an export has, and in which of its files they are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trackbridge.adapter import RunRef
from trackbridge_adapters.neptune import contents, copies, facts
from trackbridge_adapters.neptune.contents import Contents
from trackbridge_adapters.neptune.copies import Place
from trackbridge_adapters.neptune.facts import Facts
from trackbridge_adapters.neptune.layout import (
    SUFFIX,
    UNFINISHED,
    Layout,
    entity,
    id_of,
    run_name,
)
from trackbridge_adapters.neptune.parts import Part
from trackbridge_adapters.neptune.steps import Scale

KEPT = 200
"""Runs whose files are remembered: what opens many files goes from run to run."""
_NUMBER = re.compile(r"_part_(\d{1,9})\.parquet(\.tmp)?$")


@dataclass
class Store:
    """The files of an export, as they were when they were looked at last."""

    layout: Layout
    parts: dict[Path, Part] = field(default_factory=dict)
    runs: dict[RunRef, list[Part]] = field(default_factory=dict)
    """Files of each run, those that it shares too; runs in a stable order."""
    copies: dict[RunRef, dict[Place, list[Part]]] = field(default_factory=dict)
    """Files of the copies of a run that are not read."""
    damage: dict[RunRef, list[str]] = field(default_factory=dict)
    """What is known of files as a whole."""
    not_read: dict[str, Counter[str]] = field(default_factory=dict)
    """By project: files that are no parts of runs."""
    failures: dict[RunRef, list[str]] = field(default_factory=dict)
    """What the exporter says that it could not fetch."""
    _scales: dict[tuple[str, ...], dict[RunRef, Scale]] = field(default_factory=dict)
    _contents: dict[RunRef, Contents] = field(default_factory=dict)
    """Of the runs that were asked for last."""
    _report: tuple[tuple[int, int] | None, dict[RunRef, list[str]]] | None = None
    """What `failures` is made of: the file's state, and what it says."""

    def look(self) -> None:
        """Take notice of what is there now; only files that changed are opened."""
        self._take_report()
        known = self.parts
        self.parts = {path: self._part(path, known) for path in self.layout.parts()}
        if known == self.parts:
            return
        self._scales, self._contents = {}, {}
        self.damage, self.not_read = {}, {}
        self._choose()
        for folder in sorted({path.parent for path in self.parts}):
            self._judge([part for part in self.parts.values() if part.path.parent == folder])
        self.runs = dict(sorted(self.runs.items()))

    def parts_of(self, refs: Iterable[RunRef]) -> list[Part]:
        """The files of some runs, each once."""
        return list({part.path: part for ref in refs for part in self.runs[ref]}.values())

    def models(self) -> list[RunRef]:
        """Registered models and their versions, which are read as runs too."""
        return [ref for ref, parts in self.runs.items() if any(entity(p.path) for p in parts)]

    def contents(self, ref: RunRef, known: Facts | None = None) -> Contents:
        """The files of a run."""
        found = self._contents.get(ref)
        if found is None:
            known = known or facts.scan(self.runs[ref], [ref])[ref]
            found = contents.look(known, self.layout)
            if len(self._contents) >= KEPT:
                self._contents = {}
            self._contents[ref] = found
        return found

    def remembered(
        self,
        types: Sequence[str],
        refs: Iterable[RunRef],
        find: Callable[[list[RunRef]], dict[RunRef, Scale]],
    ) -> dict[RunRef, Scale]:
        """Scales of some runs; those that are not known yet are found."""
        known = self._scales.setdefault(tuple(types), {})
        if lacking := [ref for ref in refs if ref not in known]:
            known |= find(lacking)
        return {ref: known[ref] for ref in refs}

    def together(self) -> Iterator[list[RunRef]]:
        """All runs, those that share files with each other together."""
        seen: set[RunRef] = set()
        for ref in self.runs:
            if ref in seen:
                continue
            company, todo = {ref}, [ref]
            while todo:
                for part in self.runs[todo.pop()]:
                    new = part.runs.keys() - company
                    company |= new
                    todo += new
            seen |= company
            yield sorted(company)

    def _choose(self) -> None:
        """The files that each run is read from: those of one copy."""
        found = copies.by_run(self.parts.values())
        several = {ref: places for ref, places in found.items() if len(places) > 1}
        ranking = copies.ranked(several, self._broken()) if several else {}
        aside: dict[Path, set[RunRef]] = {}
        self.copies = {}
        for ref, (_, *others) in ranking.items():
            self.copies[ref] = {place: found[ref][place] for place in others}
            for part in (part for parts in self.copies[ref].values() for part in parts):
                aside.setdefault(part.path, set()).add(ref)
        read = [
            part.without(aside[path]) if path in aside else part
            for path, part in self.parts.items()
        ]
        self.runs = {
            ref: parts for ref, of_one in copies.by_run(read).items() for parts in of_one.values()
        }

    def _broken(self) -> set[Path]:
        """Files that are damaged, or of a run or project that lacks some or has damaged ones."""
        found: dict[tuple[Path, str | None], list[Part]] = {}
        for part in self.parts.values():
            found.setdefault((part.path.parent, run_name(part.path)), []).append(part)
        return {
            part.path
            for own in found.values()
            if any(part.damage for part in own) or any(_lines(own))
            for part in own
        }

    def _part(self, path: Path, known: Mapping[Path, Part]) -> Part:
        """A file; one that was not finished counts only where no finished one has its place."""
        if path.name.endswith(UNFINISHED) and path.with_suffix("").exists():
            return Part(path, (0, 0), problem="a finished file is in its place")
        return Part.look(path, known.get(path))

    def _take_report(self) -> None:
        """What the exporter says that it could not fetch, if it says anything else than before."""
        path = self.layout.errors()
        stat = path and path.stat()
        state = (stat.st_mtime_ns, stat.st_size) if stat else None
        if self._report is None or self._report[0] != state:
            self._report = state, facts.failures(path)
        self.failures = self._report[1]

    def _judge(self, parts: list[Part]) -> None:
        """What is broken or lacking among the files of a project."""
        sound = {ref.project for part in parts for ref in part.runs}
        folder = parts[0].path.parent
        above = folder.parent if entity(parts[0].path) else folder
        project = min(sound) if sound else id_of(above.name)
        named: dict[str, list[Part]] = {}
        for part in parts:
            name = run_name(part.path)
            if name is None:
                if part.problem:
                    self._leave(project, part)
            else:
                named.setdefault(name, []).append(part)
        for name, own in named.items():
            refs = {ref for part in own for ref in part.runs}
            lines = list(_lines(own))
            if not refs:
                refs = {RunRef(project, id_of(name))}
                lines += [line for part in own for line in part.damage]
            for line in lines:
                for ref in refs:
                    if Place.of(own[0].path) not in self.copies.get(ref, ()):
                        self.runs.setdefault(ref, [])
                        self.damage.setdefault(ref, []).append(line)

    def _leave(self, project: str, part: Part) -> None:
        what = f"{part.path.name}: {part.problem}"
        self.not_read.setdefault(project, Counter())[what] += 1


def _lines(parts: list[Part]) -> Iterator[str]:
    """What is wrong with the files of one run."""
    for part in parts:
        unfinished = part.path.name.endswith(UNFINISHED)
        if unfinished:
            yield f"{part.path.name}: the export was stopped before the run was whole"
        if part.problem:
            yield f"{part.path.name}: cannot be read: {part.problem}"
    numbers = {int(found[1]) for part in parts if (found := _NUMBER.search(part.path.name))}
    lacking = sorted(set(range(max(numbers, default=-1))) - numbers)
    if lacking:
        shown = ", ".join(f"_part_{number}{SUFFIX}" for number in lacking[:10])
        yield f"{shown}: {len(lacking)} files of the run are not there"
