"""The Parquet files of an archive: one table of one chunk each, written and read as a stream."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trackbridge.adapter import ItemRef, RunRef
from trackbridge.columns import compacted, within
from trackbridge.errors import IntegrityError
from trackbridge.folder import storage_errors
from trackbridge.optional import Excerpt
from trackbridge.schema import (
    BATCH_ROWS,
    CODE,
    EVERY_TABLE,
    INT,
    ITEM_FILES,
    ITEM_TABLES,
    ITEMS,
    TEXT,
)
from trackbridge_adapters.archive.chunks import Part

CONTENTS = "contents"
"""The table that says which bytes each file of a run has; the archive's own."""

SCHEMAS = {
    **EVERY_TABLE,
    CONTENTS: pa.schema(
        [
            pa.field("project", TEXT, metadata={"doc": "empty for files of the store itself"}),
            pa.field("run_id", TEXT, metadata={"doc": "empty for files of the store itself"}),
            pa.field("owner", TEXT, metadata={"doc": "as in the table files"}),
            pa.field("path", TEXT, metadata={"doc": "as in the table files"}),
            pa.field("sha256", TEXT, metadata={"doc": "the bytes lie in data/bytes/<ab>/<sha256>"}),
            pa.field("size", INT, metadata={"doc": "bytes"}),
        ],
        metadata={"doc": "one row per file whose bytes are in the archive"},
    ),
}

EVERY_POINT = Excerpt()

GROUP_ROWS = 1 << 18
"""Rows of a row group: what a reader has to go through to find one run."""
GROUP_BYTES = 128 << 20
"""A row group ends earlier where its rows are this large in memory."""
BATCH_BYTES = 32 << 20
"""A batch has fewer rows where they are large."""


class PartWriter:
    """A Parquet file being written; rows leave memory by the row group."""

    def __init__(self, path: Path, table: str) -> None:
        self.counts: Counter[RunRef] = Counter()
        """Rows of each run; complete after `close`."""
        self._path = path
        self._schema = SCHEMAS[table]
        of_runs = table not in ITEM_TABLES
        self._labelled = of_runs and {"project", "run_id"} <= set(self._schema.names)
        self._coded = [field.name for field in self._schema if field.type == CODE]
        self._rows = 0
        self._held: list[pa.RecordBatch] = []
        self._held_rows = self._held_bytes = 0
        # Numbers take less time and space without a dictionary; row groups are cut by `write`.
        texts = [field.name for field in self._schema if field.type in (TEXT, CODE)]
        with self._errors():
            self._file = pq.ParquetWriter(
                path, self._schema, compression="zstd", use_dictionary=texts
            )

    def write(self, data: pa.RecordBatch) -> None:
        """Add rows. They stay in memory until there are enough of them for a row group."""
        self._held.append(data)
        self._held_rows += data.num_rows
        self._held_bytes += 0 if self._coded else _size(data)
        if self._held_rows >= GROUP_ROWS or self._held_bytes >= GROUP_BYTES:
            self._flush(last=False)

    def close(self) -> Part:
        """Finish the file."""
        self._flush(last=True)
        with self._errors():
            self._file.close()
            return Part(self._rows, self._path.stat().st_size, sha256(self._path))

    def abandon(self) -> None:
        """Let go of the file, whatever is in it."""
        self._file.close()

    def _flush(self, *, last: bool) -> None:
        """Write row groups of the usual length, so that their ends do not depend on batches."""
        rows = pa.Table.from_batches(self._held, self._schema).unify_dictionaries()
        whole = last or rows.num_rows < GROUP_ROWS
        end = rows.num_rows if whole else rows.num_rows - rows.num_rows % GROUP_ROWS
        for start in range(0, end, GROUP_ROWS):
            group = rows.slice(start, min(GROUP_ROWS, end - start)).combine_chunks()
            for data in group.to_batches():
                if self._labelled:
                    self.counts.update(_counts(data))
                data = self._compacted(data)
                with self._errors():
                    self._file.write_batch(data, row_group_size=data.num_rows)
        self._rows += end
        rest = rows.slice(end)
        self._held = rest.to_batches()
        self._held_rows, self._held_bytes = rest.num_rows, rest.nbytes

    def _compacted(self, data: pa.RecordBatch) -> pa.RecordBatch:
        """With nothing in dictionaries that no row has: files are the same for the same rows.

        For a value that is in a dictionary twice, Arrow (25) leaves room in the page and writes
        there what happens to be in memory.
        """
        for name in self._coded:
            position = data.schema.get_field_index(name)
            column = compacted(data.column(position))
            data = data.set_column(position, data.schema.field(position), column)
        return data

    def _errors(self) -> AbstractContextManager[None]:
        return storage_errors(str(self._path), passing=False)


def _counts(data: pa.RecordBatch) -> dict[RunRef, int]:
    """The runs that the rows belong to, and how many rows each has."""
    labels = [data.column(name) for name in ("project", "run_id")]
    if any(column.null_count for column in labels):
        raise IntegrityError("a row was given without the project and run it belongs to")
    project, run = (c if c.type == CODE else c.dictionary_encode() for c in labels)
    projects, runs = project.dictionary.to_pylist(), run.dictionary.to_pylist()
    pairs = run.indices.to_numpy()
    if len(projects) > 1:
        pairs = pairs + project.indices.to_numpy().astype(np.int64) * len(runs)
    starts = np.concatenate([[0], np.flatnonzero(pairs[1:] != pairs[:-1]) + 1])
    found, stretch = np.unique(pairs[starts], return_inverse=True)
    counts = np.bincount(stretch.reshape(-1), np.diff(starts, append=len(pairs)))
    return {
        RunRef(projects[pair // len(runs)], runs[pair % len(runs)]): int(count)
        for pair, count in zip(found.tolist(), counts.tolist())
    }


def _size(data: pa.RecordBatch) -> int:
    """Bytes in memory; exact for large batches only, since looking closely takes a while."""
    bound: int = data.get_total_buffer_size()
    return bound if bound < 1 << 16 else int(data.nbytes)


def read_part(
    path: Path,
    table: str,
    refs: Collection[RunRef] | Collection[ItemRef] | None,
    excerpt: Excerpt = EVERY_POINT,
    groups: range | None = None,
) -> Iterator[pa.RecordBatch]:
    """The rows of these runs or items, or all rows, with exactly the table's schema.

    Of `metrics` just an `excerpt`; with `groups` those of these row groups.
    """
    schema = SCHEMAS[table]
    chosen = None if refs is None else _Choice(table, refs)
    coded = [field.name for field in schema if pa.types.is_dictionary(field.type)]
    with pq.ParquetFile(path, read_dictionary=coded) as file:
        if not file.schema_arrow.equals(schema):
            raise IntegrityError(f"the columns are not those of the table {table}")
        there = range(file.num_row_groups)
        wanted = [
            g
            for g in (there if groups is None else there[groups.start : groups.stop])
            if (chosen is None or chosen.may_be_in(file.metadata.row_group(g)))
            and _may_have(file.metadata.row_group(g), excerpt)
        ]
        size = sum(file.metadata.row_group(g).total_byte_size for g in wanted)
        rows = sum(file.metadata.row_group(g).num_rows for g in wanted)
        batch_rows = max(1, min(BATCH_ROWS, BATCH_BYTES * rows // max(size, 1)))
        for batch in file.iter_batches(batch_rows, row_groups=wanted):
            data = pa.RecordBatch.from_arrays(batch.columns, schema=schema)
            if chosen is not None:
                data = data.filter(chosen.mask(data))
            if excerpt != EVERY_POINT:
                data = within(data, excerpt)
            if data.num_rows:
                yield data


class _Choice:
    """Which rows of a part are wanted: those whose label, in one column, is one of a project's."""

    def __init__(self, table: str, refs: Collection[RunRef] | Collection[ItemRef]) -> None:
        self._column = "run_id"
        self._labels: dict[str, list[str]] = {}
        for ref in refs:
            label = ref[-1]
            if isinstance(ref, ItemRef):
                self._column = _item_column(table)
                label = f"{ref.kind}:{ref.id}" if table == CONTENTS else ref.id
            self._labels.setdefault(ref.project, []).append(label)

    def may_be_in(self, group: pq.RowGroupMetaData) -> bool:
        """Whether a row group can have such rows, going by its least and greatest label."""
        edges = _edges(group, self._column)
        if edges is None:
            return True
        every = (label for labels in self._labels.values() for label in labels)
        return any(edges[0] <= label <= edges[1] for label in every)

    def mask(self, data: pa.RecordBatch) -> pa.Array:
        mask = pa.repeat(False, data.num_rows)
        for project, labels in self._labels.items():
            inside = pc.is_in(data.column(self._column), pa.array(labels))
            mask = pc.or_(mask, pc.and_(pc.equal(data.column("project"), project), inside))
        return mask


def _may_have(group: pq.RowGroupMetaData, excerpt: Excerpt) -> bool:
    """Whether a row group can have such points, going by its least and greatest key and step."""
    keys = None if excerpt.keys is None else _edges(group, "key")
    if keys is not None and not any(keys[0] <= key <= keys[1] for key in excerpt.keys or ()):
        return False
    steps = _edges(group, "step") if excerpt.first is not None else None
    return steps is None or (
        steps[1] >= excerpt.first and (excerpt.last is None or steps[0] <= excerpt.last)
    )


def _edges(group: pq.RowGroupMetaData, name: str) -> tuple[Any, Any] | None:
    """The least and the greatest value of a column, where the file says so."""
    columns = map(group.column, range(group.num_columns))
    found = next(c.statistics for c in columns if c.path_in_schema == name)
    return (found.min, found.max) if found is not None and found.has_min_max else None


def _item_column(table: str) -> str:
    """The column that names the item, in a table of items or in `contents`."""
    own = {ITEM_FILES: "item_id", CONTENTS: "owner"}
    return own.get(table) or next(i.id for k, i in ITEMS.items() if table in (k, *i.parts))


def sha256(path: Path) -> str:
    """Digest of a local file, as 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in blocks(file):
            digest.update(block)
    return digest.hexdigest()


def blocks(file: BinaryIO) -> Iterator[bytes]:
    """What is left of a file, piece by piece."""
    while block := file.read(1 << 20):
        yield block
