"""What table files hold, by one pass over them: runs, where their rows are, what columns mean."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from trackbridge.adapter import RunRef
from trackbridge.columns import codes, groups
from trackbridge.errors import ConfigError
from trackbridge.optional import Excerpt
from trackbridge.prefetch import together
from trackbridge_adapters.tables import beside
from trackbridge_adapters.tables.blocks import Block
from trackbridge_adapters.tables.csvfile import CsvFile
from trackbridge_adapters.tables.jsonlfile import JsonlFile, columns_of
from trackbridge_adapters.tables.known import FIELDS
from trackbridge_adapters.tables.mapping import (
    NUMBERS,
    NUMERIC,
    TEXTS,
    Column,
    Declaration,
    Layout,
    extended,
    layout,
)
from trackbridge_adapters.tables.melt import Axis, Line, Names, axis, labels, leaf, lines, owners
from trackbridge_adapters.tables.parsed import Parsed, Problem
from trackbridge_adapters.tables.place import TableFile
from trackbridge_adapters.tables.spool import Kept, Spool, packed
from trackbridge_adapters.tables.values import Cells, no_numbers

OPENERS: dict[str, type[CsvFile] | type[JsonlFile]] = {"csv": CsvFile, "jsonl": JsonlFile}
OF_RUNS = (TEXTS, "param", "tag", "extra", *FIELDS)
"""Roles of columns that say one thing of each run."""
MOST_DAMAGE = 20
"""Lines of a file that are named for a run; further ones are counted."""


@dataclass
class RunFacts:
    """What is known of a run. `cells` are what columns say of it: leaf by role and key."""

    ref: RunRef
    points: int = 0
    cells: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    damage: list[str] = field(default_factory=list)
    digest: Any = field(default_factory=lambda: hashlib.sha1(usedforsecurity=False))
    estimated: bool = False
    """`points` may be other ones than there are."""
    more: int = 0
    """Lines that are damaged and not named."""

    def note(self, what: str) -> None:
        if len(self.damage) < MOST_DAMAGE:
            self.damage.append(what)
        else:
            self.more += 1


class Span(NamedTuple):
    """A block of a file, and which runs have rows in it, by their numbers.

    `steps` are the least and the greatest step; None where rows have none.
    """

    block: Block
    runs: npt.NDArray[np.int64]
    steps: tuple[int, int] | None
    digest: bytes
    """Of its bytes: others are another state of the file."""
    kept: Kept | None
    """Where the rows are, but in the file; None where there was no room for them."""
    before: Mapping[Line, int] | None
    """How many rows of its lines come before it; None where columns say the order."""

    def may_have(self, excerpt: Excerpt | None) -> bool:
        """Whether points of the excerpt can be in it."""
        if excerpt is None or self.steps is None:
            return True
        low, high = self.steps
        before = excerpt.first is not None and high < excerpt.first
        return not before and not (excerpt.last is not None and low > excerpt.last)


@dataclass
class Texts:
    """Cells that are no numbers among those of a metric."""

    cells: int = 0
    count: int = 0
    first: str = ""


@dataclass
class FileFacts:
    """A file whose columns are understood."""

    table: TableFile
    home: RunRef
    """The run of rows that name none."""
    layout: Layout
    unit: str
    columns: list[Column]
    notes: dict[str, str]
    spans: list[Span] = field(default_factory=list)
    texts: dict[str, Texts] = field(default_factory=dict)
    """Of metrics by their columns, in CSV, where each cell may say anything."""
    ids: dict[int, list[str]] = field(default_factory=dict)
    """The runs of rows, by the offset of their block, where a column does not tell them apart."""


class Index:
    """All files. Runs are numbered as they come."""

    def __init__(
        self, files: Sequence[TableFile], scheme: str, project: str, said: Sequence[Declaration]
    ) -> None:
        self._states = [(table, table.state()) for table in files]
        self.runs: list[RunFacts] = []
        self.numbers: dict[RunRef, int] = {}
        self.files: list[FileFacts] = []
        self._open, self._said = OPENERS[scheme], said
        self.spool = Spool()
        unread: list[ConfigError] = []
        for table in files:
            try:
                self._read(table, beside.home(table, project))
            except ConfigError as error:
                unread.append(error)
        if not self.runs:
            raise unread[0]
        for declared in said:
            if not any(declared.meets(n) for facts in self.files for n in facts.layout.uses):
                raise ConfigError(
                    f"{scheme}: no column is like {declared.pattern!r} to be the {declared.role} "
                    "(--columns)"
                )
        for reason in unread:
            self.runs[0].note(str(reason))

    def is_of_now(self) -> bool:
        """Whether no file looks like another one since."""
        return all(table.state() == state for table, state in self._states)

    def number(self, ref: RunRef) -> int:
        if ref not in self.numbers:
            self.numbers[ref] = len(self.runs)
            self.runs.append(RunFacts(ref))
        return self.numbers[ref]

    def _read(self, table: TableFile, home: RunRef) -> None:
        file = self._open(table)
        try:
            first = layout(file.columns, self._said, table.path)
            facts = FileFacts(table, home, first, "", list(file.columns), dict(file.notes))
            beside.guess_download(facts)
            facts.unit = _unit(facts)
            if facts.layout.is_of_runs:
                beside.tell_apart(file, facts)
            _Pass(self, file, facts).run()
        finally:
            file.close()
        self.files.append(facts)


def _unit(facts: FileFacts) -> str:
    time = facts.layout.column("time")
    unit = next((column.unit for column in facts.columns if column.name == time), "")
    return unit if unit not in ("", "iso") else "s"


def digest(data: bytes) -> bytes:
    """Another one for each state of the bytes of a block."""
    return xxhash.xxh3_128_digest(data)


class _Taken(NamedTuple):
    """What is made of the bytes of a block, whatever is in the others."""

    rows: Parsed
    at: Axis
    digest: bytes
    kept: Kept | None


class _Pass:
    """One pass over a file."""

    def __init__(self, index: Index, file: CsvFile | JsonlFile, facts: FileFacts) -> None:
        self._index, self._file, self._facts = index, file, facts
        self._changing: set[str] = set()
        self._rows: dict[int, int] = {}
        self._cells: dict[tuple[int, str], tuple[str, str]] = {}
        self._tokens: set[str] = set()
        """Columns whose cells are JSON, in some block."""
        self._points: dict[int, int] = {}
        self._settled_later: dict[int, int] = {}
        self._problems: list[tuple[Problem, int | None]] = []
        self._lines: dict[Line, int] = {}

    def run(self) -> None:
        file, facts = self._file, self._facts
        with together(self._taken, file.blocks(), file.threads) as blocks:
            for (block, data), taken in blocks:
                self._learn_columns(taken.rows)
                found = self._note_rows(block, taken.rows)
                self._note_problems(block, data, taken, found)
                self._note_texts(block, data, taken.rows)
                runs = np.array(sorted(set(found.tolist())), np.int64)
                before = self._number(block, taken.rows) if facts.layout.is_unordered else None
                steps = _range(taken.at.step)
                facts.spans.append(Span(block, runs, steps, taken.digest, taken.kept, before))
                for number in runs.tolist():
                    self._index.runs[number].digest.update(taken.digest)
        if file.harm:
            self._problems.append((Problem(0, file.harm), None))
        self._settle()

    def _taken(self, found: tuple[Block, bytes]) -> _Taken:
        rows = self._file.parse(*found, self._facts.layout)
        at = axis(rows, self._facts.layout, self._facts.unit)
        return _Taken(rows, at, digest(found[1]), self._index.spool.put(packed(rows)))

    def _learn_columns(self, parsed: Parsed) -> None:
        """Columns of JSON Lines that come later than in the first block."""
        facts = self._facts
        self._tokens |= parsed.tokens
        new = columns_of(parsed, facts.layout.uses)
        if new:
            facts.columns += new
            facts.layout = extended(facts.layout, new, self._index._said)

    def _names(self, block: Block, parsed: Parsed) -> Names:
        facts = self._facts
        return Names.of(parsed, facts.layout, facts.home, facts.ids.get(block.offset))

    def _note_rows(self, block: Block, parsed: Parsed) -> npt.NDArray[np.int64]:
        """The number of the run of each row, and of those that columns are of."""
        facts = self._facts
        names = self._names(block, parsed)
        pairs = pa.RecordBatch.from_arrays([*names], names=["project", "run_id"])
        group, first = groups(pairs, "project", "run_id") if parsed.rows else (np.zeros(0, int), [])
        refs = [RunRef(names.project[row].as_py(), names.run[row].as_py()) for row in first]
        own = [use.run for use in facts.layout.uses.values() if use.run]
        if own:
            project = refs[0].project if refs else facts.home.project
            refs = [RunRef(project, run) for run in dict.fromkeys(own)]
            for name, use in facts.layout.uses.items():
                for run, mask in owners(parsed, facts.layout, use):
                    there = parsed.columns[name].is_valid().to_numpy(zero_copy_only=False)
                    count = int((there if mask is None else there & mask).sum())
                    number = self._index.number(RunRef(project, run))
                    self._points[number] = self._points.get(number, 0) + count
            return np.array([self._index.number(ref) for ref in refs], np.int64)
        order = np.array([self._index.number(ref) for ref in refs], np.int64)
        if facts.ids:
            shown = labels(parsed, facts.layout.column("run"), facts.home.run_id)
            for number, row in zip(order.tolist(), first):
                self._cells[number, str(facts.layout.column("run"))] = shown[row].as_py(), "string"
        self._count(parsed, group, order)
        self._note_cells(parsed, group, order)
        return order

    def _number(self, block: Block, parsed: Parsed) -> dict[Line, int]:
        """Count rows on, line by line; how many there were before."""
        group, found = lines(parsed, self._facts.layout, self._names(block, parsed))
        before = {line: self._lines.get(line, 0) for line in found}
        for line, size in zip(found, np.bincount(group, minlength=len(found)).tolist()):
            self._lines[line] = before[line] + size
        return before

    def _count(
        self, parsed: Parsed, group: npt.NDArray[np.int64], order: npt.NDArray[np.int64]
    ) -> None:
        size = len(order)
        rows = np.bincount(group, minlength=size)
        sure, later = np.zeros(size, np.int64), np.zeros(size, np.int64)
        for name, use in self._facts.layout.uses.items():
            if use.role not in ("metric", "value", NUMBERS) or name not in parsed.columns:
                continue
            column = parsed.columns[name]
            counts = rows
            if column.null_count:
                there = column.is_valid().to_numpy(zero_copy_only=False)
                counts = np.bincount(group[there], minlength=size)
            if use.role == NUMBERS:
                later += counts
            else:
                sure += counts
        for number, row, known, guessed in zip(
            order.tolist(), rows.tolist(), sure.tolist(), later.tolist()
        ):
            self._rows[number] = self._rows.get(number, 0) + row
            self._points[number] = self._points.get(number, 0) + known
            self._settled_later[number] = self._settled_later.get(number, 0) + guessed

    def _note_cells(
        self, parsed: Parsed, group: npt.NDArray[np.int64], order: npt.NDArray[np.int64]
    ) -> None:
        """The first value that each run has in columns of runs, and which have several."""
        for name in self._facts.layout.columns(*OF_RUNS):
            column = parsed.columns.get(name)
            if column is None or column.null_count == len(column):
                continue
            if not pa.types.is_dictionary(column.type):
                column = column.dictionary_encode()
            index = codes(column)
            rows = np.flatnonzero(index >= 0)
            first = np.full(len(order), len(index))
            np.minimum.at(first, group[rows], rows)
            if (index[rows] != index[first[group[rows]]]).any():
                self._changing.add(name)
            for number, row in zip(order.tolist(), first.tolist()):
                if row < len(index):
                    cell = leaf(column[row].as_py(), parsed.words(name))
                    known = self._cells.setdefault((number, name), cell)
                    if known != cell:
                        self._changing.add(name)

    def _note_problems(
        self, block: Block, data: bytes, taken: _Taken, order: npt.NDArray[np.int64]
    ) -> None:
        """What is wrong in the block, for the run that it belongs to as far as that is known."""
        parsed, at = taken.rows, taken.at
        run = self._facts.layout.column("run")
        for problem in parsed.problems:
            cell = self._file.cell(problem.text, run) if problem.text and run else None
            ref = RunRef(self._facts.home.project, cell or "")
            number = self._index.numbers.get(ref)
            self._problems.append((problem, number if number is not None else _first(order)))
        for role, cells in (("step", at.step), ("time", at.time)):
            if cells is None or not len(cells.bad):
                continue
            name = str(self._facts.layout.column(role))
            named = cells.bad[:MOST_DAMAGE].tolist()
            lines = self._file.lines_of(block, data, named)
            for row in named:
                text = parsed.columns[name][row].as_py()
                what = f"{name} {text!r} is no {role}; the row is kept without one"
                self._problems.append((Problem(lines.get(row, block.line), what), _first(order)))
            if len(cells.bad) > len(named):
                what = f"{len(cells.bad) - len(named)} more cells of {name} are no {role}"
                self._problems.append((Problem(block.line, what), _first(order)))

    def _note_texts(self, block: Block, data: bytes, parsed: Parsed) -> None:
        """What is no number in columns that are metrics by most of their cells, or by word."""
        layout = self._facts.layout
        kinds = {column.name: column.kind for column in self._facts.columns}
        for name in layout.columns("metric", NUMBERS):
            meant = kinds[name] in NUMERIC or (kinds[name] == "text" and layout.uses[name].declared)
            if not meant or name not in parsed.columns or parsed.words(name) != "cells":
                continue
            column = parsed.columns[name]
            rows, seen = no_numbers(column), self._facts.texts.setdefault(name, Texts())
            seen.cells += len(column) - column.null_count
            if len(rows) and not seen.count:
                lines_of = self._file.lines_of(block, data, rows[:1].tolist())
                seen.first = f"{column[rows[0]].as_py()!r} in line {lines_of[int(rows[0])]}"
            seen.count += len(rows)

    def _settle(self) -> None:
        """Decide what all rows tell, and say what is wrong to the runs that it is of."""
        facts, runs = self._facts, self._index.runs
        if not self._rows and not self._points:
            why = self._problems[0][0] if self._problems else None
            reason = f"line {why.line}: {why.what}" if why else "no rows below its header"
            raise ConfigError(f"{facts.table.path}: no table: {reason}")
        lone = facts.layout.column("step") is None and not facts.layout.is_long
        final = lone and bool(self._rows) and max(self._rows.values()) == 1
        facts.layout = facts.layout.settled(final=final, changing=self._changing)
        state = repr(sorted(facts.layout.uses.items())).encode()
        mine = self._rows.keys() | self._points.keys()
        for number in mine:
            later = 0 if final else self._settled_later.get(number, 0)
            runs[number].points += self._points.get(number, 0) + later
            runs[number].digest.update(state)
            runs[number].estimated |= bool(self._changing or self._tokens)
        for (number, name), cell in self._cells.items():
            use = facts.layout.uses[name]
            if use.role in OF_RUNS or use.role == "run":
                place = "name" if use.role == "run" else use.role, use.key or name
                known = runs[number].cells.setdefault(place, cell)
                if known != cell:
                    what = f"{name} is {cell[0]}, but {known[0]} in a file before it, which is kept"
                    self._problems.append((Problem(0, what), number))
        for name in sorted(self._changing):
            use = facts.layout.uses[name]
            if use.role in OF_RUNS:
                what = f"{name} changes within runs; as a {use.role} it keeps its first value"
                self._problems.append((Problem(0, what), None))
        for problem, of in self._problems:
            line = f" line {problem.line}:" if problem.line else ":"
            runs[min(mine) if of is None else of].note(f"{facts.table.path}{line} {problem.what}")
        beside.add_params(facts, [runs[number] for number in mine])


def _first(order: npt.NDArray[np.int64]) -> int | None:
    return int(order[0]) if len(order) else None


def _range(steps: Cells | None) -> tuple[int, int] | None:
    if steps is None or not len(steps.values) or not (steps.there is None or steps.there.all()):
        return None
    return int(steps.values.min()), int(steps.values.max())


def spans_of(
    index: Index, wanted: npt.NDArray[np.int64], excerpt: Excerpt | None
) -> Iterator[tuple[FileFacts, list[Span]]]:
    """The blocks in which some runs have rows, or points of an excerpt, by file."""
    for facts in index.files:
        some = (span for span in facts.spans if span.may_have(excerpt))
        found = [span for span in some if np.isin(span.runs, wanted).any()]
        if found:
            yield facts, found
