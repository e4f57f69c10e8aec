"""Reads tables of points: long or wide, whatever their columns are called."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from datetime import datetime
from functools import cached_property, partial
from typing import Any, BinaryIO, NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trackbridge.adapter import Batch, Capabilities, FileRef, Query, Row, RunInfo, RunKey, RunRef
from trackbridge.columns import batches, codes, within
from trackbridge.errors import NotFoundError, TransientError
from trackbridge.optional import Assumption, Excerpt
from trackbridge.prefetch import together
from trackbridge.times import moment
from trackbridge_adapters.tables.index import (
    OPENERS,
    FileFacts,
    Index,
    RunFacts,
    Span,
    digest,
    spans_of,
)
from trackbridge_adapters.tables.known import FIELDS, STATES
from trackbridge_adapters.tables.mapping import ROLES, Layout, declarations
from trackbridge_adapters.tables.melt import (
    Axis,
    Mask,
    Names,
    axis,
    every,
    final_values,
    ordinals,
    points,
)
from trackbridge_adapters.tables.parsed import Parsed
from trackbridge_adapters.tables.place import TableFile, project_of
from trackbridge_adapters.tables.sample import unit_of
from trackbridge_adapters.tables.values import times

_LEAF = ("key", "value", "type")
HOLDS = {
    "runs": (*FIELDS, "extra"),
    "params": _LEAF,
    "summary": _LEAF,
    "tags": ("key", "value"),
    "metrics": ("key", "step", "time", "value"),
    "series": ("key", "step", "time", "kind", "value"),
}


class TablesReader:
    """Files of one format, for reading."""

    capabilities = Capabilities.everything(holds=HOLDS)

    def __init__(
        self, files: Sequence[TableFile], location: str, scheme: str, columns: str
    ) -> None:
        self.address = f"{scheme}:{location}"
        self._files, self._location, self._scheme = files, location, scheme
        self._said = declarations(columns)

    @cached_property
    def _index(self) -> Index:
        return Index(self._files, self._scheme, project_of(self._location), self._said)

    def _forget(self) -> None:
        """Files are looked through again, since they have changed."""
        vars(self).pop("_index", None)

    def list_runs(self, query: Query) -> Iterator[RunInfo]:
        if not self._index.is_of_now():
            self._forget()
        for facts in self._index.runs:
            info = self._info(facts)
            if (
                (not query.projects or info.ref.project in query.projects)
                and (not query.run_ids or info.ref.run_id in query.run_ids)
                and (not query.since or (info.started and info.started >= query.since))
            ):
                yield info

    def read_runs(
        self, refs: Sequence[RunRef], tables: Collection[str] | None = None
    ) -> Iterator[Batch]:
        wanted = self._wanted(refs)
        asked = set(HOLDS) if tables is None else set(HOLDS) & set(tables)
        if asked & {"metrics", "series", "summary"}:
            for batch in self._flowing(wanted, None):
                if batch.table in asked and batch.data.num_rows:
                    yield batch
        rows = [self._rows(self._index.runs[number]) for number in wanted.tolist()]
        for table in ("params", "tags", "runs"):
            if table in asked:
                yield from batches(table, (row for found in rows for row in found[table]))

    def read_points(self, refs: Sequence[RunRef], excerpt: Excerpt) -> Iterator[Batch]:
        for batch in self._flowing(self._wanted(refs), excerpt):
            if batch.table == "metrics":
                data = within(batch.data, excerpt)
                if data.num_rows:
                    yield Batch("metrics", data)

    def read_shared(self, query: Query) -> Iterator[Batch]:
        return iter(())

    def open_file(self, file: FileRef) -> BinaryIO:
        self._refuse(file.run, f"file {file.path!r} of run {file.run.run_id!r}")

    def assumptions(self) -> Iterator[Assumption]:
        """What each column is used as, once for files that are alike."""
        shown: set[tuple[Any, ...]] = set()
        for facts in self._index.files:
            of_file = tuple(_assumed(facts))
            if of_file not in shown:
                shown.add(of_file)
                yield from (Assumption(facts.table.path, *what) for what in of_file)

    def _wanted(self, refs: Sequence[RunRef]) -> npt.NDArray[np.int64]:
        numbers = self._index.numbers
        for ref in refs:
            if ref not in numbers:
                self._refuse(ref, f"run {ref.project}/{ref.run_id}")
        return np.array([numbers[ref] for ref in refs], np.int64)

    def _refuse(self, ref: RunRef, what: str) -> NoReturn:
        raise NotFoundError(f"{self.address}: no {what}")

    def _flowing(self, wanted: npt.NDArray[np.int64], excerpt: Excerpt | None) -> Iterator[Batch]:
        """Points and final values of the runs of these numbers."""
        for facts, spans in spans_of(self._index, wanted, excerpt):
            layout = facts.layout if excerpt is None else facts.layout.of_metrics(excerpt.keys)
            with self._rows_of(facts, layout, spans) as rows:
                for span, parsed in rows:
                    yield from self._of_block(facts, layout, span, parsed, wanted)

    @contextmanager
    def _rows_of(
        self, facts: FileFacts, layout: Layout, spans: list[Span]
    ) -> Iterator[Iterator[tuple[Span, Parsed]]]:
        """The rows of blocks of a file, which is opened where they are not at hand."""
        spool = self._index.spool
        there = all(span.kept for span in spans)
        with nullcontext() if there else closing(OPENERS[self._scheme](facts.table)) as file:

            def bytes_of() -> Iterator[tuple[Span, bytes]]:
                for span in spans:
                    yield span, file.read(span.block) if file and not span.kept else b""

            def rows_of(found: tuple[Span, bytes]) -> Parsed:
                span, data = found
                if span.kept:
                    return spool.get(span.kept)
                assert file is not None
                if digest(data) != span.digest:
                    self._forget()
                    raise TransientError(f"{facts.table.path} was changed while it was read")
                return file.parse(span.block, data, layout)

            with together(rows_of, bytes_of(), file.threads if file else 1) as rows:
                yield ((span, parsed) for (span, _), parsed in rows)

    def _of_block(
        self,
        facts: FileFacts,
        layout: Layout,
        span: Span,
        parsed: Parsed,
        wanted: npt.NDArray[np.int64],
    ) -> Iterator[Batch]:
        names = Names.of(parsed, layout, facts.home, facts.ids.get(span.block.offset))
        at = axis(parsed, layout, facts.unit)
        if span.before is not None:
            at = Axis(ordinals(parsed, layout, names, span.before), None)
        all_are = bool(np.isin(span.runs, wanted).all())
        choose = every if all_are else partial(self._mask, wanted=wanted)
        yield from points(parsed, layout, names, at, choose)
        yield from final_values(parsed, layout, names, choose)

    def _mask(self, names: Names, wanted: npt.NDArray[np.int64]) -> Mask:
        """Which rows are of the runs."""
        refs = [self._index.runs[number].ref for number in wanted.tolist()]
        projects = names.project.dictionary.to_pylist()
        runs = names.run.dictionary.to_pylist()
        chosen = np.zeros((len(projects), len(runs)), bool)
        places = {text: row for row, text in enumerate(runs)}
        for ref in refs:
            if ref.run_id in places:
                for row, project in enumerate(projects):
                    chosen[row, places[ref.run_id]] |= project == ref.project
        mask: Mask = chosen[codes(names.project), codes(names.run)]
        return mask

    def _info(self, facts: RunFacts) -> RunInfo:
        row = self._row(facts)
        return RunInfo(
            facts.ref,
            RunKey(self._scheme, "", *facts.ref),
            facts.digest.hexdigest(),
            row["name"],
            row["status"],
            row["started"],
            facts.points,
            estimated=facts.estimated,
        )

    def _row(self, facts: RunFacts) -> Row:
        """The row of the run in the table runs."""
        row: Row = {**facts.ref._asdict(), "deleted": False, **dict.fromkeys(FIELDS)}
        extra: dict[str, Any] = {}
        for (role, key), (value, _) in facts.cells.items():
            if role == "extra":
                extra[key] = value
            elif role in ("started", "ended"):
                row[role] = _moment(value)
                if row[role] is None:
                    extra[key] = value
            elif role == "status":
                row[role] = STATES.get(value.lower())
                if row[role] != value.lower():
                    extra[key] = value
            elif role in FIELDS:
                row[role] = value
        damage = [*facts.damage, *([f"and {facts.more} more lines"] if facts.more else [])]
        if damage:
            extra["damage"] = damage
        row["extra"] = json.dumps(extra) if extra else None
        return row

    def _rows(self, facts: RunFacts) -> dict[str, list[Row]]:
        label = facts.ref._asdict()
        found: dict[str, list[Row]] = {"params": [], "tags": [], "runs": [self._row(facts)]}
        for (role, key), (value, kind) in facts.cells.items():
            if role == "param":
                found["params"].append({**label, "key": key, "value": value, "type": kind})
            elif role == "tag":
                found["tags"].append({**label, "key": key, "value": value})
        return found


def _moment(text: str) -> datetime | None:
    """A time as a column of runs has it; None where it is none."""
    try:
        unit = unit_of(float(text)) or "s"
    except ValueError:
        unit = "s"
    found = times(pa.array([text]), unit)
    return None if len(found.bad) else moment(int(found.values[0]))


def _odd(facts: FileFacts, name: str) -> str:
    """What of a metric is no number."""
    texts = facts.texts.get(name)
    if not texts or not texts.count or facts.layout.uses[name].role != "metric":
        return ""
    some = f"{texts.count} of {texts.cells} cells are no numbers, such as {texts.first}"
    return f"; {some}: kept as texts"


def _order(layout: Layout) -> str:
    """What says the order of points that have no step."""
    if not layout.is_unordered:
        return "none"
    of = "value among its metric's" if layout.is_long else "row among its run's"
    return f"number of the {of}"


def _assumed(facts: FileFacts) -> Iterator[tuple[str, str]]:
    layout = facts.layout
    yield from facts.notes.items()
    if layout.column("run") is None and not any(use.run for use in layout.uses.values()):
        yield "run", f"{facts.home.run_id}, since no column says it"
    if layout.column("step") is None and layout.columns("metric", "value"):
        yield "step", f"{_order(layout)}, since no column says it"
    for name, use in layout.uses.items():
        meaning = ROLES[use.role]
        key = f" {use.key}" if use.key and use.key != name else ""
        of = f" of run {use.run}" if use.run else ""
        why = f" ({use.why})" if use.why else ""
        yield f"column {name}", f"{meaning}{key}{of}{why}{_odd(facts, name)}"
