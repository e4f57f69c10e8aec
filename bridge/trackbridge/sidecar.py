"""The sidecar file of a run: what its store cannot hold, and how it is laid back over the run."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trackbridge import selecting
from trackbridge.adapter import SIDECAR, Batch, FileRef, Reader, Row, RunInfo, RunRef
from trackbridge.columns import batches, relabel, sliced, split
from trackbridge.errors import IntegrityError, NotFoundError
from trackbridge.fit import holds_everything
from trackbridge.optional import Excerpt, Splitting
from trackbridge.residual import PointRestoration
from trackbridge.row_residual import LABELS, KeptRow, RowRestoration
from trackbridge.schema import TABLES, TIME

FORMAT = 1
_FIXED_DATE = (1980, 1, 1, 0, 0, 0)
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError),
    *(LookupError, ValueError, TypeError, AttributeError, OverflowError, pa.ArrowException),
)
"""What reading damaged bytes raises; `RuntimeError` where they claim to be encrypted."""


@dataclass
class Sidecar:
    """Residuals of one run. `bool()` is false where there are none and no file is needed.

    `kept` are rows of small tables that the store does not show as they are, `hide` identities of
    native rows that stand for none of the run's; `names` maps native metric names to the original
    ones, `files` the (owner, path) of a file to where the store has it.
    """

    hide: dict[str, set[str]] = field(default_factory=dict)
    kept: dict[str, list[KeptRow]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    files: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    streams: dict[str, pa.Table] = field(default_factory=dict)
    """By name: `moves`, `points`, `hidden` (see `residual`) and `logs`."""
    logs_shown: bool = False
    """Whether native rows stand for those in `logs`; where not, they are lines that came later."""
    unproven: str = ""
    """Why the run that was brought here is not what it was, so that this is but its shell."""

    def __bool__(self) -> bool:
        return any((self.hide, self.kept, self.names, self.files, self.streams, self.unproven))

    def dumps(self) -> bytes:
        """A zip of `sidecar.json` and a Parquet file per stream; the same for the same content."""
        document = {
            "format": FORMAT,
            "hide": {table: sorted(identities) for table, identities in self.hide.items()},
            "kept": {
                table: [
                    [None if row is None else plain_row(row, LABELS) for row in item]
                    for item in rows
                ]
                for table, rows in self.kept.items()
            },
            "names": self.names,
            "files": [[*here, *there] for here, there in self.files.items()],
            "streams": sorted(self.streams),
            **({"logs_shown": True} if self.logs_shown else {}),
            **({"unproven": self.unproven} if self.unproven else {}),
        }
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            text = json.dumps(document, sort_keys=True)
            archive.writestr(zipfile.ZipInfo("sidecar.json", _FIXED_DATE), text)
            for name, table in sorted(self.streams.items()):
                content = io.BytesIO()
                pq.write_table(table, content, compression="zstd")
                entry = zipfile.ZipInfo(f"{name}.parquet", _FIXED_DATE)
                archive.writestr(entry, content.getvalue())
        return out.getvalue()

    @classmethod
    def loads(cls, data: bytes, where: str) -> Sidecar:
        """The inverse of `dumps`; `IntegrityError` if it is damaged or newer than this code."""
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                document = json.loads(archive.read("sidecar.json"))
                if document["format"] > FORMAT:
                    raise IntegrityError(
                        f"{where}: written by a newer Trackbridge; upgrade to read it"
                    )
                streams = {
                    name: pq.read_table(io.BytesIO(archive.read(f"{name}.parquet")))
                    for name in document["streams"]
                }
            return cls(
                {table: set(identities) for table, identities in document["hide"].items()},
                {t: [_kept(t, *item) for item in rows] for t, rows in document["kept"].items()},
                document["names"],
                {(a, b): (c, d) for a, b, c, d in document["files"]},
                streams,
                document.get("logs_shown", False),
                document.get("unproven", ""),
            )
        except _DAMAGE as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise IntegrityError(f"{where}: damaged sidecar ({reason})") from error


def plain_row(row: Row, without: Collection[str] = ()) -> Row:
    """A row as JSON can hold it: times in microseconds, nulls left out."""
    return {
        name: int(pa.scalar(value, TIME).value) if isinstance(value, datetime) else value
        for name, value in row.items()
        if value is not None and name not in without
    }


def typed_row(table: str, row: Row) -> Row:
    """The inverse of `plain_row`."""
    schema = TABLES[table]
    return {
        name: pa.scalar(value, TIME).as_py() if schema.field(name).type == TIME else value
        for name, value in row.items()
    }


def _kept(table: str, row: Row, shown: Row | None) -> KeptRow:
    return KeptRow(typed_row(table, row), None if shown is None else typed_row(table, shown))


class Overlay:
    """A chunk of runs as they were where they were born, whatever store they are read from."""

    def __init__(self, reader: Reader, infos: Sequence[RunInfo]) -> None:
        self.reader = reader
        self.refs = [info.ref for info in infos]
        self._labels = {i.ref: i.key.born for i in infos}
        self._native = {origin: ref for ref, origin in self._labels.items()}
        bare = holds_everything(reader.capabilities)
        carried = [] if bare else [info.ref for info in infos if info.carried]
        self._sidecars = dict(self._load(carried))
        self._rows: dict[RunRef, RowRestoration] = {}
        self._listed: set[FileRef] = set()
        self._points = {ref: _restoration(side) for ref, side in self._sidecars.items()}
        self._moved = {ref: origin for ref, origin in self._labels.items() if ref != origin}

    @property
    def changes_nothing(self) -> bool:
        """Whether the runs are read natively just as they were where they were born."""
        return not self._sidecars and not self._moved

    def has_sidecar(self, run: RunRef) -> bool:
        """Whether what is said of a run's files may be older than the files in this store."""
        return self._native[run] in self._sidecars

    def read(
        self,
        tables: Collection[str] | None = None,
        native: Callable[[Batch], object] | None = None,
    ) -> Iterator[Batch]:
        """Batches labelled with the runs' origins; `native` sees each one as the store has it."""
        yield from self._read(self.refs, tables, native)

    def _read(
        self,
        refs: Sequence[RunRef],
        tables: Collection[str] | None = None,
        native: Callable[[Batch], object] | None = None,
    ) -> Iterator[Batch]:
        self._rows = {
            ref: RowRestoration(side.kept, side.hide) for ref, side in self._sidecars.items()
        }
        if tables is None or "logs" in tables:
            for ref, side in self._sidecars.items():  # which go on natively
                yield from self._kept_stream(ref, "logs", _logs(side))
        for batch in self.reader.read_runs(refs, tables):
            if native is not None:
                native(batch)
            if batch.table == "files" and self._sidecars:
                self._listed.update(map(_file, batch.data.to_pylist()))
            yield from self._restore(batch)
        for ref in self._sidecars:
            yield from self._rest(ref, tables)

    def read_rest(self, *, sound: bool) -> Iterator[Batch]:
        """What `read` gives of a run but its `metrics`, which were read in pieces (`Splitting`)."""
        assert isinstance(self.reader, Splitting)
        for batch in self.reader.read_rest(*self.refs, sound=sound):
            yield from self._restore(batch)

    def read_points(self, excerpt: Excerpt) -> Iterator[Batch]:
        """Batches of `metrics` as `read` gives them, with the rows that are in an excerpt.

        Found at the source where it can, but for runs with a sidecar: keys and steps may be others
        there than the store shows.
        """
        plain = [ref for ref in self.refs if ref not in self._sidecars]
        for batch in selecting.read_points(self.reader, plain, excerpt) if plain else ():
            yield self._relabelled(batch)
        if self._sidecars:
            restored = self._read([*self._sidecars], ["metrics"])
            yield from selecting.selected(restored, excerpt)

    def locate(self, run: RunRef, owner: str, path: str) -> FileRef:
        """Where the store has a file that `files` of the restored run names."""
        ref = self._native[run]
        side = self._sidecars.get(ref)
        return FileRef(
            ref, *(side.files.get((owner, path), (owner, path)) if side else (owner, path))
        )

    def lists(self, run: RunRef, owner: str, path: str) -> bool:
        """Whether the store itself, as it was read, names a file that the restored run has."""
        file = self.locate(run, owner, path)
        return file.run not in self._sidecars or file in self._listed

    def open_file(self, run: RunRef, owner: str, path: str) -> BinaryIO:
        """The bytes of a file that `files` of the restored run names."""
        return self.reader.open_file(self.locate(run, owner, path))

    def _load(self, refs: Iterable[RunRef]) -> Iterator[tuple[RunRef, Sidecar]]:
        for ref in refs:
            try:
                with self.reader.open_file(FileRef(ref, "", SIDECAR)) as file:
                    data = file.read()
            except NotFoundError:
                continue
            where = f"{self.reader.address}: run {ref.run_id}"
            side = Sidecar.loads(data, f"{where}: {SIDECAR}")
            if side.unproven:
                raise IntegrityError(
                    f"{where}: is not what it was where it came from, so only its shell is here "
                    f"({side.unproven}); migrate it again from its source"
                )
            yield ref, side

    def _restore(self, batch: Batch) -> Iterator[Batch]:
        if not self._sidecars:
            yield self._relabelled(batch) if self._moved else batch
        elif batch.table == "logs":
            for ref, part in split(batch.data):
                side = self._sidecars.get(ref)
                if side and "logs" in side.streams:
                    if side.logs_shown:
                        continue
                    part = _continued(part, side.streams["logs"])
                yield self._relabelled(Batch("logs", part))
        elif batch.table == "metrics":
            for ref, part in split(batch.data):
                if ref in self._sidecars:
                    part = self._points[ref].apply(part)
                    part = _renamed(part, self._sidecars[ref].names)
                yield self._relabelled(Batch("metrics", part))
        else:
            for small in batches(batch.table, self._restored(batch)):
                yield self._relabelled(small)

    def _restored(self, batch: Batch) -> Iterator[Row]:
        for row in batch.data.to_pylist():
            restoration = self._rows.get(RunRef(row["project"], row["run_id"]))
            yield from restoration.apply(batch.table, [row]) if restoration else [row]

    def _rest(self, ref: RunRef, tables: Collection[str] | None) -> Iterator[Batch]:
        side, origin = self._sidecars[ref], self._labels[ref]
        wanted = set(TABLES if tables is None else tables)
        for table in wanted & set(side.kept):
            rows = self._rows[ref].rest(table)
            yield from batches(table, ({**row, **origin._asdict()} for row in rows))
        if "metrics" in wanted:
            yield from self._kept_stream(ref, "metrics", self._points[ref].rest())

    def _kept_stream(
        self, ref: RunRef, table: str, kept: Iterable[pa.RecordBatch]
    ) -> Iterator[Batch]:
        for data in kept:
            yield from sliced(table, _labelled(table, data, self._labels[ref]))

    def _relabelled(self, batch: Batch) -> Batch:
        return Batch(batch.table, relabel(batch.data, self._moved))


def _file(row: Row) -> FileRef:
    return FileRef(RunRef(row["project"], row["run_id"]), row["owner"] or "", row["path"])


def _restoration(side: Sidecar) -> PointRestoration:
    return PointRestoration(*(side.streams.get(name) for name in ("moves", "points", "hidden")))


def _logs(side: Sidecar) -> Iterator[pa.RecordBatch]:
    if "logs" in side.streams:
        yield from side.streams["logs"].combine_chunks().to_batches()


def _continued(data: pa.RecordBatch, before: pa.Table) -> pa.RecordBatch:
    """Console lines numbered on from those that were there before."""
    last = pc.max(before.column("line")).as_py()
    lines = pc.add(data.column("line"), 0 if last is None else last + 1)
    return data.set_column(data.schema.get_field_index("line"), data.schema.field("line"), lines)


def _renamed(data: pa.RecordBatch, names: Mapping[str, str]) -> pa.RecordBatch:
    if not names:
        return data
    key = data.column("key")
    original = [names.get(name, name) for name in key.dictionary.to_pylist()]
    column = pa.DictionaryArray.from_arrays(key.indices, pa.array(original, pa.string()))
    return data.set_column(data.schema.get_field_index("key"), data.schema.field("key"), column)


def _labelled(table: str, data: pa.RecordBatch, run: RunRef) -> pa.RecordBatch:
    """Rows under the labels of one run, with exactly the model's schema."""
    schema = TABLES[table]
    columns: list[Any] = []
    for column in schema:
        if column.name in ("project", "run_id"):
            value = getattr(run, column.name)
            columns.append(pa.array([value] * data.num_rows).cast(column.type))
        else:
            columns.append(data.column(column.name).cast(column.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)
