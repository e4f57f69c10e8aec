"""The memory adapter: stores that live as long as the process; the example to copy.

What a store does not claim in its `Capabilities` it really drops, so tests can make it as poor as
they like: `create("x", Capabilities(holds={...}))`, then use the address `memory:x`.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import BinaryIO

import pyarrow as pa

from trackbridge.adapter import (
    Batch,
    Capabilities,
    FileRef,
    Presentation,
    Query,
    Row,
    RunInfo,
    RunKey,
    RunRef,
)
from trackbridge.columns import split, within
from trackbridge.errors import DuplicatePointsError, IntegrityError, NotFoundError
from trackbridge.optional import Excerpt
from trackbridge.schema import BATCH_ROWS, CODE, DEFAULTS, NAMED_BY, SHARED, TABLES, TEXT

EVERYTHING = Capabilities.everything(parallel_files=True)


@dataclass
class Run:
    """A committed run: its rows by table, whole."""

    key: RunKey
    fingerprint: str
    tables: dict[str, pa.Table]


@dataclass
class Contents:
    """What is in a store."""

    capabilities: Capabilities
    runs: dict[RunRef, Run] = field(default_factory=dict)
    files: dict[FileRef, bytes] = field(default_factory=dict)
    shared: dict[str, dict[tuple[str, ...], Row]] = field(default_factory=dict)


STORES: dict[str, Contents] = {}


def create(name: str, capabilities: Capabilities) -> Contents:
    """A new empty store at `memory:NAME`, in place of one that was there."""
    STORES[name] = Contents(capabilities)
    return STORES[name]


class MemoryStore:
    """A store, for reading and for writing."""

    advice = ""

    def __init__(self, name: str, capabilities: Capabilities = EVERYTHING) -> None:
        self._name = name
        self.address = f"memory:{name}"
        self.capabilities = STORES[name].capabilities if name in STORES else capabilities

    @property
    def _contents(self) -> Contents:
        return STORES.get(self._name) or Contents(self.capabilities)

    def list_runs(self, query: Query) -> Iterator[RunInfo]:
        for ref in sorted(self._contents.runs):
            info = self._info(ref)
            if (
                (not query.projects or ref.project in query.projects)
                and (not query.run_ids or ref.run_id in query.run_ids)
                and (not query.since or (info.started and info.started >= query.since))
                and (query.include_deleted or not info.deleted)
            ):
                yield info

    def read_runs(
        self, refs: Sequence[RunRef], tables: Collection[str] | None = None
    ) -> Iterator[Batch]:
        for ref in refs:
            if ref not in self._contents.runs:
                raise NotFoundError(f"{self.address} has no run {ref.project}/{ref.run_id}")
        for ref in refs:
            for table, rows in self._contents.runs[ref].tables.items():
                if tables is None or table in tables:
                    yield from (Batch(table, data) for data in rows.to_batches(BATCH_ROWS))

    def read_points(self, refs: Sequence[RunRef], excerpt: Excerpt) -> Iterator[Batch]:
        for batch in self.read_runs(refs, ["metrics"]):
            data = within(batch.data, excerpt)
            if data.num_rows:
                yield Batch("metrics", data)

    def read_shared(self, query: Query) -> Iterator[Batch]:
        for table, named in self._contents.shared.items():
            anywhere = not query.projects or "project" not in TABLES[table].names
            rows = [
                row
                for row in named.values()
                if (anywhere or row["project"] in query.projects)
                and (query.include_deleted or not row.get("deleted"))
            ]
            for data in pa.Table.from_pylist(rows, TABLES[table]).to_batches(BATCH_ROWS):
                yield Batch(table, data)

    def open_file(self, file: FileRef) -> BinaryIO:
        if file not in self._contents.files:
            raise NotFoundError(
                f"{self.address} has no file {file.path!r} of run {file.run.run_id}"
            )
        return BytesIO(self._contents.files[file])

    def target(self, key: RunKey) -> RunRef:
        return RunRef(key.label, str(key))

    def present(self, key: RunKey, tables: Mapping[str, list[Row]]) -> Presentation:
        return Presentation(dict(tables))

    def open(self, keys: Sequence[RunKey]) -> MemorySink:
        contents = STORES.setdefault(self._name, self._contents)
        targets = {self.target(key): key for key in keys}
        for ref, key in targets.items():
            if ref in contents.runs and contents.runs[ref].key != key:
                raise IntegrityError(
                    f"{self.address}: run {ref.run_id} came from {contents.runs[ref].key}"
                )
        return MemorySink(contents, targets)

    def _info(self, ref: RunRef) -> RunInfo:
        run, files = self._contents.runs[ref], self._contents.files
        row = run.tables["runs"].to_pylist()[0]
        points = sum(len(run.tables.get(table, ())) for table in ("metrics", "series"))
        sizes = [len(data) for file, data in files.items() if file.run == ref]
        known = (row["name"], row["status"], row["started"], points, len(sizes), sum(sizes))
        deleted = bool(row["deleted"])
        return RunInfo(ref, run.key, run.fingerprint, *known, carried=True, deleted=deleted)


class MemorySink:
    """A chunk being written: its rows and files stay here until `commit`."""

    def __init__(self, contents: Contents, targets: Mapping[RunRef, RunKey]) -> None:
        self._contents = contents
        self._targets = targets
        self._rows: dict[RunRef, dict[str, list[pa.RecordBatch]]] = {ref: {} for ref in targets}
        self._shared: list[Batch] = []
        self._files: dict[FileRef, bytes] = {}

    def __enter__(self) -> MemorySink:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing to undo: what was not committed is forgotten."""

    def write(self, batch: Batch) -> None:
        if batch.table not in self._contents.capabilities.holds:
            return
        data = self._held(batch)
        if batch.table in SHARED:
            self._shared.append(Batch(batch.table, data))
            return
        for ref, rows in split(data):
            self._rows[ref].setdefault(batch.table, []).append(rows)

    def put_file(self, file: FileRef, data: BinaryIO) -> None:
        self._files[file] = data.read()

    def commit(self) -> Mapping[RunKey, RunRef]:
        runs = {ref: self._run(ref) for ref in self._targets}
        there = self._contents
        kept = {file: data for file, data in there.files.items() if file.run not in runs}
        there.files = {**kept, **self._files}
        there.runs = {**there.runs, **runs}
        for batch in self._shared:
            for row in batch.data.to_pylist():
                name = tuple(row[column] for column in NAMED_BY[batch.table])
                there.shared.setdefault(batch.table, {})[name] = row
        return {key: ref for ref, key in self._targets.items()}

    def _held(self, batch: Batch) -> pa.RecordBatch:
        """The columns that the store holds as they are, the others null or as `DEFAULTS` say."""
        names = NAMED_BY.get(batch.table, ("project", "run_id"))
        held = {*names, *self._contents.capabilities.holds[batch.table]}
        columns = dict(zip(batch.data.schema.names, batch.data.columns))
        for column in TABLES[batch.table]:
            if column.name not in held:
                absent = pa.scalar(DEFAULTS.get((batch.table, column.name)), column.type)
                columns[column.name] = pa.repeat(absent, batch.data.num_rows)
        return pa.RecordBatch.from_arrays([*columns.values()], schema=TABLES[batch.table])

    def _run(self, ref: RunRef) -> Run:
        rows = self._rows[ref]
        if sum(data.num_rows for data in rows.get("runs", [])) != 1:
            raise IntegrityError(f"run {ref.run_id} has no row of its own in the table runs")
        tables = {name: pa.Table.from_batches(parts) for name, parts in rows.items()}
        points = tables.get("metrics", TABLES["metrics"].empty_table())
        if not self._contents.capabilities.repeated_points and _repeat(points):
            raise DuplicatePointsError(f"run {ref.run_id} has points that are equal here")
        return Run(self._targets[ref], uuid.uuid4().hex, tables)


def _repeat(points: pa.Table) -> bool:
    """Whether two points are equal. Dictionaries may have a text twice, which pandas refuses."""
    plain = [field.with_type(TEXT) if field.type == CODE else field for field in points.schema]
    return bool(points.cast(pa.schema(plain)).to_pandas().duplicated().any())


class MemoryAdapter:
    """Stores by name, in this process; new ones get the capabilities."""

    name = "memory"

    def __init__(self, capabilities: Capabilities = EVERYTHING) -> None:
        self.capabilities = capabilities

    def recognizes(self, location: str) -> bool:
        return False

    def suggests(self, location: str) -> bool:
        return False

    def reader(self, location: str, options: Mapping[str, str]) -> MemoryStore:
        if location not in STORES:
            raise NotFoundError(f"memory:{location} does not exist in this process")
        return MemoryStore(location)

    def writer(self, location: str, options: Mapping[str, str]) -> MemoryStore:
        return MemoryStore(location, self.capabilities)


ADAPTER = MemoryAdapter()
