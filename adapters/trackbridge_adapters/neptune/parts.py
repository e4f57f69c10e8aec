"""Parquet files of an export: what is in their row groups, and their rows in columns."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trackbridge.adapter import RunRef
from trackbridge.columns import codes, groups, label
from trackbridge.schema import BATCH_ROWS, CODE, TEXT
from trackbridge_adapters.neptune.layout import NEEDED

STEP = pa.decimal128(18, 6)
MILLISECONDS = pa.timestamp("ms", "UTC")
COLUMNS: dict[str, pa.DataType] = {
    "project_id": CODE,
    "run_id": CODE,
    "attribute_path": CODE,
    "attribute_type": CODE,
    "step": STEP,
    "timestamp": MILLISECONDS,
    "int_value": pa.int64(),
    "float_value": pa.float64(),
    "string_value": TEXT,
    "bool_value": pa.bool_(),
    "datetime_value": MILLISECONDS,
    "string_set_value": pa.list_(TEXT),
    "file_value": pa.struct([("path", TEXT)]),
    "histogram_value": pa.struct(
        [("type", TEXT), ("edges", pa.list_(pa.float64())), ("values", pa.list_(pa.float64()))]
    ),
}
"""Columns as every version has written them (model.py of neptune-exporter)."""
VALUED = frozenset(name for name in COLUMNS if name.endswith("_value"))
LABELS = ("project_id", "run_id")
CODED = [name for name, kind in COLUMNS.items() if kind == CODE]
AT_ONCE = 1 << 20
"""Bytes of a column that are read from the disk at a time, in a long row group."""
LONG = 1 << 26
"""Bytes of a row group, uncompressed, that need not be in memory at once."""
UNREADABLE = (OSError, pa.ArrowException, ValueError, OverflowError, KeyError)
"""What pyarrow raises over broken files."""

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Group:
    """A row group: how many rows of which runs, and bounds of columns where they are known."""

    number: int
    rows: int
    runs: Mapping[RunRef, int]
    types: tuple[str, str] | None = None
    paths: tuple[str, str] | None = None
    steps: tuple[int, int] | None = None
    """In millionths."""
    filled: frozenset[str] = frozenset()
    """Columns of values in which there may be some."""
    gaps: frozenset[str] = frozenset()
    """Columns of values in which some may be lacking."""
    absent: frozenset[str] = frozenset()
    """Columns that the file does not have."""

    @property
    def type(self) -> str | None:
        """The type of all its attributes, where they have one."""
        return self.types[0] if self.types and self.types[0] == self.types[1] else None

    @property
    def run(self) -> RunRef | None:
        """The run that all its rows are of, if they are of one."""
        [ref, *others] = self.runs or [None]
        return ref if ref and not others and self.runs[ref] == self.rows else None

    def telling(self, types: Collection[str]) -> list[str]:
        """Columns that tell which of its rows are of which run, and of one of these types."""
        labels = [] if self.run else LABELS
        return [*labels, *([] if self.type in types else ["attribute_type"])]

    def elsewhere(self, home: str) -> list[str]:
        """Columns in which values may be that are lacking in theirs."""
        return sorted(self.filled - {home}) if home in self.gaps | self.absent else []

    def may_have_path(self, paths: Collection[str]) -> bool:
        """Whether there can be one of these attributes."""
        return self.paths is None or any(self.paths[0] <= p <= self.paths[1] for p in paths)

    def may_have(self, types: Collection[str]) -> bool:
        """Whether there can be an attribute of one of these types."""
        return self.types is None or any(self.types[0] <= kind <= self.types[1] for kind in types)


@dataclass
class Part:
    """A file, as it was when it was looked at."""

    path: Path
    state: tuple[int, int]
    groups: list[Group] = field(default_factory=list)
    problem: str | None = None
    """Why it cannot be read, in whole."""
    damage: list[str] = field(default_factory=list)
    """What of it cannot be read, or is not understood."""

    @classmethod
    def look(cls, path: Path, known: Part | None) -> Part:
        """What is in a file; what is known already is not read again."""
        stat = path.stat()
        state = stat.st_mtime_ns, stat.st_size
        if known is not None and known.state == state:
            return known
        part = cls(path, state)
        try:
            with _opened(path) as file:
                part._take(file)
        except UNREADABLE as error:
            part.problem = said(error)
        return part

    @cached_property
    def runs(self) -> dict[RunRef, int]:
        """Rows of each run that it has."""
        found: dict[RunRef, int] = {}
        for group in self.groups:
            for ref, rows in group.runs.items():
                found[ref] = found.get(ref, 0) + rows
        return found

    def without(self, refs: Collection[RunRef]) -> Part:
        """The same file, with rows of these runs left aside."""
        groups = [
            replace(group, runs={ref: rows for ref, rows in group.runs.items() if ref not in refs})
            for group in self.groups
        ]
        return replace(self, groups=groups)

    def _take(self, file: pq.ParquetFile) -> None:
        names = set(file.schema_arrow.names)
        if not names >= NEEDED:
            lacking = ", ".join(sorted(NEEDED - names))
            raise ValueError(f"is no part of an export: it has no column {lacking}")
        for name in sorted(names - set(COLUMNS)):
            self.damage.append(f"{self.path.name}: the column {name!r} is not known and not read")
        for number in range(file.metadata.num_row_groups):
            try:
                group = _group(file, number)
                self.groups.append(group)
                if lost := group.rows - sum(group.runs.values()):
                    where = f"{self.path.name}: row group {number}"
                    self.damage.append(f"{where}: {lost} rows name no project or no run")
            except UNREADABLE as error:
                self.damage.append(f"{self.path.name}: row group {number}: {said(error)}")

    def batches(
        self, group: Group, columns: Sequence[str], damage: list[str]
    ) -> Iterator[pa.RecordBatch]:
        """Rows of a group in columns of the types of `COLUMNS`, those that are absent as nulls.

        What cannot be read is named in `damage`; what comes before it is given.
        """
        try:
            with _opened(self.path, group.number) as file:
                threads = group.rows > BATCH_ROWS
                yield from _batches(file, group.number, columns, threads=threads)
        except UNREADABLE as error:
            line = f"{self.path.name}: row group {group.number}: {said(error)}"
            if line not in damage:
                damage.append(line)


def _opened(path: Path, group: int | None = None) -> pq.ParquetFile:
    """A file, of which a long row group is read bit by bit."""
    about = pq.read_metadata(path)
    coded = [name for name in CODED if name in about.schema.to_arrow_schema().names]
    is_long = group is not None and about.row_group(group).total_byte_size > LONG
    buffered = AT_ONCE if is_long else 0
    return pq.ParquetFile(path, metadata=about, read_dictionary=coded, buffer_size=buffered)


def _batches(
    file: pq.ParquetFile, number: int, columns: Sequence[str], *, threads: bool = True
) -> Iterator[pa.RecordBatch]:
    names = set(file.schema_arrow.names)
    there = [name for name in columns if name in names]
    for data in file.iter_batches(
        BATCH_ROWS, row_groups=[number], columns=there, use_threads=threads
    ):
        arrays = [
            _typed(data.column(name), COLUMNS[name])
            if name in there
            else pa.nulls(data.num_rows, COLUMNS[name])
            for name in columns
        ]
        yield pa.RecordBatch.from_arrays(arrays, list(columns))


def _typed(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if column.type == kind:
        return column
    if kind == CODE:
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        return column.cast(TEXT).dictionary_encode()
    if kind == STEP and pa.types.is_integer(column.type):
        column = column.cast(pa.decimal128(25, 6))  # as many digits as any integer has
    return column.cast(kind)


def _group(file: pq.ParquetFile, number: int) -> Group:
    about = file.metadata.row_group(number)
    bounds = _bounds(about)
    project, run = (bounds.get(name) for name in LABELS)
    if project and run and project[0] == project[1] and run[0] == run[1]:
        runs = {RunRef(project[0], run[0]): about.num_rows}
    else:
        runs = _counted(file, number)
    return Group(
        number,
        about.num_rows,
        runs,
        bounds.get("attribute_type"),
        bounds.get("attribute_path"),
        bounds.get("step"),
        *_values(about),
        frozenset(COLUMNS.keys() - file.schema_arrow.names),
    )


def _bounds(about: Any) -> dict[str, tuple[Any, Any]]:
    """Least and greatest value of the columns that have both and no nulls, by the statistics.

    Steps are in millionths, and may have nulls.
    """
    found: dict[str, tuple[Any, Any]] = {}
    for index in range(about.num_columns):
        column = about.column(index)
        name = column.path_in_schema
        if name not in CODED and name != "step":
            continue
        statistics = column.statistics
        if statistics is None or not statistics.has_min_max:
            continue
        least, most = statistics.min, statistics.max
        if name in CODED and statistics.null_count == 0 and isinstance(least, str):
            found[name] = least, most
        elif name == "step" and hasattr(least, "scaleb"):
            found[name] = int(least.scaleb(6)), int(most.scaleb(6))
    return found


def _values(about: Any) -> tuple[frozenset[str], frozenset[str]]:
    """Columns of values in which some may be, and in which some may be lacking."""
    filled, gaps = set(), set()
    for index in range(about.num_columns):
        column = about.column(index)
        name = column.path_in_schema.partition(".")[0]
        if name in VALUED:
            statistics = column.statistics
            if statistics is None or statistics.num_values:
                filled.add(name)
            if statistics is None or not statistics.has_null_count or statistics.null_count:
                gaps.add(name)
    return frozenset(filled), frozenset(gaps)


def _counted(file: pq.ParquetFile, number: int) -> dict[RunRef, int]:
    """Rows of each run in a group, by reading its labels."""
    counted: dict[RunRef, int] = {}
    for data in _batches(file, number, LABELS):
        labels = labelled(data)
        group, first = groups(labels, "project", "run_id")
        for row, count in zip(first, np.bincount(group, minlength=len(first)).tolist()):
            ref = label(labels, row)
            if ref.project is not None and ref.run_id is not None:
                counted[ref] = counted.get(ref, 0) + count
    return counted


def labelled(data: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows, with labels that are called as in the run model."""
    return data.rename_columns(
        ["project" if name == "project_id" else name for name in data.schema.names]
    )


def of_runs(data: pa.RecordBatch, group: Group, wanted: Collection[RunRef]) -> pa.RecordBatch:
    """The rows of some runs, as far as the group's are not left aside."""
    if group.run in wanted:
        return data
    labels = labelled(data.select(LABELS))
    number, first = groups(labels, "project", "run_id")
    named = [label(labels, row) for row in first]
    meant = np.array([ref in wanted and ref in group.runs for ref in named], bool)
    return data.filter(pa.array(meant[number])) if len(data) else data


def of_types(data: pa.RecordBatch, group: Group, types: Collection[str]) -> pa.RecordBatch:
    """The rows of attributes of some types."""
    if group.type in types:
        return data
    return data.filter(pc.fill_null(where(data.column("attribute_type"), types), False))


def where(column: pa.DictionaryArray, values: Collection[str]) -> pa.Array:
    """Whether each value is one of these."""
    meant = pc.is_in(column.dictionary, pa.array(sorted(values), TEXT))
    return (
        meant.take(column.indices) if len(column.dictionary) else pa.nulls(len(column), pa.bool_())
    )


def millionths(column: pa.Array) -> Codes:
    """Steps as whole numbers of millionths; those that are null are 0.

    18 digits have room in the lower half of a number of 128 bits.
    """
    both = np.frombuffer(column.buffers()[1], "<i8").reshape(-1, 2)
    steps = np.array(both[column.offset : column.offset + len(column), 0])
    if column.null_count:
        steps[~np.asarray(column.is_valid())] = 0
    return steps


def path_codes(data: pa.RecordBatch) -> tuple[Codes, list[str]]:
    """Index of each row's attribute, and their paths."""
    column = data.column("attribute_path")
    return codes(column), column.dictionary.to_pylist()


def said(error: BaseException) -> str:
    """The first line of what a library says."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
