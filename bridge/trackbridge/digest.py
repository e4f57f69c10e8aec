"""Digests of runs that do not depend on the order of rows, on batches or on the store.

A digest is a sum over rows of a row's hash (decision 0002), so it needs constant memory, and the
digests of the parts of a run add up to that of the run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trackbridge.adapter import Batch, RunRef
from trackbridge.columns import codes, groups, numpy_of
from trackbridge.schema import EVERY_TABLE, ITEM_TABLES, LOCAL, SHARED

U64 = npt.NDArray[np.uint64]

NULL = 0x9E3779B97F4A7C15
"""Stands for null in a row's hash; that a value's bits are equal to it is a chance of 2**-64."""


class Digest(NamedTuple):
    """Rows counted, and two 64-bit lanes of their hashes' sum."""

    rows: int
    first: int
    second: int

    def __add__(self, other: object) -> Digest:
        if not isinstance(other, Digest):
            return NotImplemented
        return Digest(
            self.rows + other.rows,
            (self.first + other.first) % 2**64,
            (self.second + other.second) % 2**64,
        )

    def __str__(self) -> str:
        return f"{self.rows}:{self.first:016x}{self.second:016x}"


ZERO = Digest(0, 0, 0)


class Place(NamedTuple):
    """What a digest covers: a table of a run or, in `metrics`, one series of it."""

    table: str
    series: str | None


RunDigests = dict[Place, Digest]


class Digests:
    """The digests of any number of runs, fed batch by batch."""

    def __init__(self) -> None:
        self._runs: dict[RunRef, RunDigests] = {}

    def __getitem__(self, run: RunRef) -> RunDigests:
        return self._runs.get(run, {})

    def add(self, batch: Batch) -> None:
        parts = _of_metrics(batch.data) if batch.table == "metrics" else _of_rows(batch)
        for run, place, digest in parts:
            self.include(run, {place: digest})

    def include(self, run: RunRef, digests: RunDigests) -> None:
        """Add the digests of other rows of a run."""
        places = self._runs.setdefault(run, {})
        for place, digest in digests.items():
            places[place] = places.get(place, ZERO) + digest

    def totals(self, run: RunRef) -> dict[str, str]:
        """Digest of each table of a run as text, as receipts hold it."""
        tables: dict[str, Digest] = {}
        for place, digest in self[run].items():
            tables[place.table] = tables.get(place.table, ZERO) + digest
        return {table: str(digest) for table, digest in sorted(tables.items())}


def point_hashes(data: pa.RecordBatch) -> U64:
    """A 64-bit hash per row of `metrics`, over every column but project and run."""
    keys = data.column("key")
    names = np.fromiter(
        (text_hash(name) for name in keys.dictionary.to_pylist()), np.uint64, len(keys.dictionary)
    )
    state = mix(names[codes(keys)])
    for column in ("step", "time", "row"):
        state = mix(state ^ _bits(data.column(column)))
    value = numpy_of(data.column("value"), np.float64)
    value[np.isnan(value)] = np.nan
    state = mix(state ^ value.view(np.uint64))
    system = data.column("system").fill_null(False).cast(pa.uint8())
    return mix(state ^ numpy_of(system, np.uint64))


def row_digest(table: str, row: dict[str, Any]) -> str:
    """16 hex digits of a row of a small table, for finding it again among others of its run."""
    return hashlib.sha256(_canonical(map(row.get, compared(table)))).hexdigest()[:16]


def row_identity(table: str, row: dict[str, Any]) -> str:
    """16 hex digits that find a native row again: its digest, for files their place alone."""
    if table == "files":
        return hashlib.sha256(_canonical([row.get("owner"), row["path"]])).hexdigest()[:16]
    return row_digest(table, row)


def _of_metrics(data: pa.RecordBatch) -> Iterator[tuple[RunRef, Place, Digest]]:
    if not data.num_rows:
        return
    hashes = point_hashes(data)
    group, first = groups(data, "project", "run_id", "key")
    rows = np.bincount(group, minlength=len(first)).tolist()
    one = _sums(hashes, group, len(first))
    two = _sums(mix(hashes ^ np.uint64(NULL)), group, len(first))
    names = [_texts(data.column(name), first) for name in ("project", "run_id", "key")]
    for index, (project, run_id, key) in enumerate(zip(*names)):
        digest = Digest(rows[index], one[index], two[index])
        yield RunRef(project, run_id), Place("metrics", key), digest


def _texts(column: pa.DictionaryArray, rows: list[int]) -> list[str]:
    names = column.dictionary.to_pylist()
    return [names[code] for code in codes(column)[rows].tolist()]


def _of_rows(batch: Batch) -> Iterator[tuple[RunRef, Place, Digest]]:
    place = Place(batch.table, None)
    for run, digest in labelled(batch, "project", "run_id").items():
        yield RunRef(*run), place, digest


def labelled(batch: Batch, *labels: str) -> dict[tuple[Any, ...], Digest]:
    """Digest of the rows of a small table by the values of some of its columns."""
    columns = [_plain(batch.data.column(name)) for name in compared(batch.table)]
    owners = zip(*(batch.data.column(name).to_pylist() for name in labels))
    totals: dict[tuple[Any, ...], list[int]] = {}
    for owner, values in zip(owners, zip(*columns)):
        raw = hashlib.sha256(_canonical(values)).digest()
        total = totals.setdefault(owner, [0, 0, 0])
        total[0] += 1
        total[1] += int.from_bytes(raw[:8], "little")
        total[2] += int.from_bytes(raw[8:16], "little")
    return {
        owner: Digest(rows, first % 2**64, second % 2**64)
        for owner, (rows, first, second) in totals.items()
    }


@cache
def compared(table: str) -> tuple[str, ...]:
    """Columns that a digest covers: not the labels of runs, nor where an item is."""
    labels: tuple[str, ...] = () if table in SHARED else ("project", "run_id")
    if table in ITEM_TABLES:
        labels = ("project",)
    return tuple(n for n in EVERY_TABLE[table].names if n not in labels and (table, n) not in LOCAL)


def _plain(column: pa.Array) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    return column.to_pylist()  # type: ignore[no-any-return]


def _microseconds(value: Any) -> int:
    return int(pa.scalar(value, pa.timestamp("us", "UTC")).value)


_encode = json.JSONEncoder(default=_microseconds).encode


def _canonical(values: Iterable[Any]) -> bytes:
    return _encode(list(values)).encode("ascii")


def text_hash(text: str) -> int:
    raw = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(raw[:8], "little")


def _bits(column: pa.Array) -> U64:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    if not column.null_count:
        return numpy_of(column, np.int64).view(np.uint64)
    bits = numpy_of(column.fill_null(0), np.int64).view(np.uint64)
    bits[np.array(column.is_null())] = NULL
    return bits


def mix(state: U64) -> U64:
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014): a bijection that spreads all bits."""
    state = state + np.uint64(NULL)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(state ^ (state >> np.uint64(31)))


def _sums(values: U64, group: npt.NDArray[np.int64], count: int) -> list[int]:
    """Sum per group modulo 2**64: in halves of 32 bits, which float64 adds up exactly."""
    low = np.bincount(group, (values & np.uint64(0xFFFFFFFF)).astype(np.float64), count)
    high = np.bincount(group, (values >> np.uint64(32)).astype(np.float64), count)
    pairs = zip(low.tolist(), high.tolist())
    return [(int(lower) + (int(upper) << 32)) % 2**64 for lower, upper in pairs]
