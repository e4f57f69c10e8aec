"""Histories as the server exports them, in Parquet files: wide rows into points, column by column.

Which columns there are is inferred (no real server was within reach): `_step`, `_timestamp`, and
one for each key, of its own type where all its values have one, else of JSON texts. Objects may be
structs or columns with dots in their names; both are read alike.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trackbridge.adapter import Batch, RunRef
from trackbridge.errors import IntegrityError
from trackbridge.schema import BATCH_ROWS, TABLES, TEXT, TIME
from trackbridge_adapters.wandb import jsontext, names
from trackbridge_adapters.wandb.kinds import kind_of
from trackbridge_adapters.wandb.points import EXACT
from trackbridge_adapters.wandb.service.canonical import UNSPELLED, dumped

Path = tuple[str, ...]
Index = npt.NDArray[np.int64]
TYPE = "_type"
SMALL = 4_000_000
"""Values that are decoded at once, with all cores."""
ZEROS = pa.array(np.zeros(BATCH_ROWS, np.int32))
FALSE = pa.array(np.zeros(BATCH_ROWS, np.bool_))


class Leaf(NamedTuple):
    """A column that is no struct, with its nested key."""

    path: Path
    values: pa.Array


class Places(NamedTuple):
    """Columns that all points of some rows share."""

    labels: list[pa.Array]
    step: pa.Array
    time: pa.Array
    row: pa.Array


class Rows:
    """The places of some rows, and of those among them that have a key: many keys have the same."""

    def __init__(self, every: Places) -> None:
        self.every = every
        self._indices: dict[bytes, Index] = {}
        self._places: dict[int, Places] = {}

    def known(self, values: pa.Array) -> Index:
        """Where a column is not null."""
        valid = values.is_valid()
        bits = valid.buffers()[1].to_pybytes()
        if bits not in self._indices:
            self._indices[bits] = np.flatnonzero(valid)
        return self._indices[bits]

    def at(self, index: Index | None) -> Places:
        """The places of some of them, or of all."""
        if index is None:
            return self.every
        if id(index) not in self._places:
            self._places[id(index)] = self.some(index)
        return self._places[id(index)]

    def some(self, index: Index) -> Places:
        """The same of an index that will not come again."""
        labels = [label.slice(0, len(index)) for label in self.every.labels]
        return Places(labels, *(_taken(column, index) for column in self.every[1:]))


class Export:
    """The exported history of one run; `given` are the names of its keys (see `names.Given`).

    `mixed` are keys whose values are of several types, so that their texts are JSON; `exact` is
    for those that are no numbers (see `canonical`).
    """

    def __init__(
        self, ref: RunRef, given: names.Given | None, mixed: Collection[str], *, exact: bool
    ) -> None:
        self.rows = 0
        """How many rows were read."""
        self.last_step: int | None = None
        self._ref, self._given, self._mixed, self._exact = ref, given, mixed, exact

    def read(self, file: pa.NativeFile) -> Iterator[Batch]:
        """The points of one Parquet file, which follows on those that were read before."""
        with pq.ParquetFile(file) as parquet:
            small = parquet.metadata.num_rows * parquet.metadata.num_columns < SMALL
            whole = parquet.read().to_batches(BATCH_ROWS) if small else None
            for data in whole or parquet.iter_batches(BATCH_ROWS):
                yield from self._melted(data)

    def _melted(self, data: pa.RecordBatch) -> Iterator[Batch]:
        leaves = {leaf.path: leaf.values for leaf in _leaves(data)}
        step = leaves.pop(("_step",)).cast(pa.int64())
        self._check_order(step)
        rows = self._rows(data.num_rows, step, leaves.pop(("_timestamp",), None))
        whole = _typed_prefixes(leaves)
        for path in sorted(leaves, key=len):  # as live rows, so that names are given alike
            if not any(_within(path, prefix) for prefix in whole):
                yield from self._column(path, leaves[path], rows)
        for prefix in whole:
            yield from self._objects(prefix, leaves, rows)
        self.rows += data.num_rows
        if data.num_rows:
            self.last_step = rows.every.step[-1].as_py()

    def _rows(self, count: int, step: pa.Array, seconds: pa.Array | None) -> Rows:
        labels = [_constant(text, count) for text in self._ref]
        row = pa.array(np.arange(self.rows, self.rows + count))
        return Rows(Places(labels, step, _times(count, seconds), row))

    def _check_order(self, step: pa.Array) -> None:
        """Files that overlap, or come in another order, would double rows or number them anew."""
        steps = step.to_numpy()
        after = steps.size == 0 or self.last_step is None or steps[0] > self.last_step
        if not after or (np.diff(steps) <= 0).any():
            raise IntegrityError(
                f"run {self._ref.run_id}: steps in its exported history repeat or go back"
            )

    def _column(self, path: Path, values: pa.Array, rows: Rows) -> Iterator[Batch]:
        kind = values.type
        if values.null_count == len(values):
            return
        index = None
        if values.null_count:
            index = rows.known(values)
            values = values.drop_null()
        if pa.types.is_floating(kind):
            yield self._metrics(path, values.cast(pa.float64()), rows.at(index))
        elif pa.types.is_integer(kind):
            yield from self._integers(path, values, index, rows)
        else:
            yield from self._others(path, values.to_pylist(), index, rows)

    def _metrics(self, path: Path, values: pa.Array, rows: Places) -> Batch:
        key = _constant(self._name(path), len(values))
        system = FALSE.slice(0, len(values))
        columns = [*rows.labels, key, rows.step, rows.time, rows.row, values, system]
        return Batch("metrics", pa.RecordBatch.from_arrays(columns, schema=TABLES["metrics"]))

    def _integers(
        self, path: Path, values: pa.Array, index: Index | None, rows: Rows
    ) -> Iterator[Batch]:
        numbers = values.cast(pa.float64(), safe=False)
        if pc.max(pc.abs(numbers)).as_py() < EXACT:
            yield self._metrics(path, numbers, rows.at(index))
            return
        exact = np.array(pc.equal(numbers.cast(values.type, safe=False), values))
        at = np.arange(len(values)) if index is None else index
        if exact.any():
            yield self._metrics(path, numbers.filter(pa.array(exact)), rows.some(at[exact]))
        texts = [str(value) for value in values.filter(pa.array(~exact)).to_pylist()]
        yield from self._series(path, texts, at[~exact], rows)

    def _others(
        self, path: Path, values: list[Any], index: Index | None, rows: Rows
    ) -> Iterator[Batch]:
        """Texts, truth values and lists, among which there may be numbers."""
        at = np.arange(len(values)) if index is None else index
        loose = ".".join(path) in self._mixed and _are_json(values)
        texts = [_text(value, loose) for value in values]
        yield from self._told(path, texts, at, rows)

    def _told(self, path: Path, texts: list[str], at: Index, rows: Rows) -> Iterator[Batch]:
        """JSON texts as the points that they are: numbers, objects of several keys, others."""
        numbers: list[tuple[int, float]] = []
        series: list[tuple[int, str]] = []
        spread: dict[Path, list[tuple[int, str]]] = {}
        for place, text in zip(at.tolist(), texts):
            value = jsontext.load(text)
            kind, _ = kind_of(text)
            if value is None:
                continue
            if kind is not None:
                series.append((place, dumped(value, self._exact)))
            elif isinstance(value, dict):
                for key, part in value.items():
                    spread.setdefault((*path, key), []).append((place, json.dumps(part)))
            else:
                numbers.append((place, float(value)))
        if numbers:
            some = np.array([place for place, _ in numbers])
            yield self._metrics(path, pa.array([n for _, n in numbers]), rows.some(some))
        if series:
            some = np.array([place for place, _ in series])
            yield from self._series(path, [text for _, text in series], some, rows)
        for inner, parts in spread.items():
            some = np.array([place for place, _ in parts])
            yield from self._told(inner, [text for _, text in parts], some, rows)

    def _objects(self, prefix: str, leaves: Mapping[Path, pa.Array], rows: Rows) -> Iterator[Batch]:
        """Objects whose parts are columns: with a type they are one point, else several."""
        found: dict[int, dict[str, Any]] = {}
        for path, values in leaves.items():
            inner = _within(path, prefix)
            for place in np.flatnonzero(values.is_valid()).tolist() if inner else ():
                _put(found.setdefault(place, {}), inner, values[place].as_py())
        at = np.array(sorted(found), np.int64)
        texts = [json.dumps(found[place]) for place in at.tolist()]
        yield from self._told((prefix,), texts, at, rows)

    def _series(self, path: Path, texts: list[str], at: Index, rows: Rows) -> Iterator[Batch]:
        if not texts:
            return
        some = rows.some(at)
        kinds = [kind_of(text) for text in texts]
        name = self._name(path)
        columns = [
            *(label.cast(pa.string()) for label in some.labels),
            pa.array([name] * len(texts), pa.string()),
            *(some.step, some.time, some.row),
            pa.array([kind for kind, _ in kinds], pa.string()),
            pa.array(texts, pa.string()),
            pa.array([place for _, place in kinds], pa.string()),
        ]
        yield Batch("series", pa.RecordBatch.from_arrays(columns, schema=TABLES["series"]))

    def _name(self, path: Path) -> str:
        if self._given is None:
            return names.unreserve(".".join(path))
        return self._given.of(path)


def _leaves(data: pa.RecordBatch) -> Iterator[Leaf]:
    for name, column in zip(data.schema.names, data.columns):
        yield from _leaves_of((name,), column)


def _leaves_of(path: Path, column: pa.Array) -> Iterator[Leaf]:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not pa.types.is_struct(column.type):
        yield Leaf(path, column)
        return
    for field, part in zip(column.type, column.flatten()):
        yield from _leaves_of((*path, field.name), part)


def _typed_prefixes(leaves: Collection[Path]) -> list[str]:
    """Names of objects with a type, the outermost ones, whether they are structs or have dots."""
    named = map(".".join, leaves)
    found = sorted(name.removesuffix(f".{TYPE}") for name in named if name.endswith(f".{TYPE}"))
    return [name for name in found if not any(name.startswith(f"{other}.") for other in found)]


def _within(path: Path, prefix: str) -> Path:
    """The rest of a key that begins like a name; empty for any other."""
    name = ".".join(path)
    if not name.startswith(f"{prefix}."):
        return ()
    rest = name[len(prefix) + 1 :]
    return tuple(rest.split(".")) if len(path) == 1 else path[-rest.count(".") - 1 :]


def _put(tree: dict[str, Any], path: Path, value: Any) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = value


def _are_json(values: list[Any]) -> bool:
    """Whether the texts of a column are JSON; they are not in a file that has nothing but texts.

    Each file has columns of its own, so one may have texts alone of a key that is mixed in others.
    """
    texts = [value for value in values if isinstance(value, str)]
    return any(map(_is_quoted, texts)) or all(map(_is_json, texts))


def _is_quoted(text: str) -> bool:
    return text.startswith('"') and text.endswith('"') and _is_json(text)


def _is_json(text: str) -> bool:
    try:
        jsontext.load(text)
    except ValueError:
        return False
    return True


def _text(value: Any, loose: bool) -> str:
    """A value as JSON; texts of a column with several types are JSON already."""
    if isinstance(value, str):
        if loose and _is_json(value):
            return value
        quoted = jsontext.quote(value)
        return UNSPELLED.get(quoted, quoted)
    return json.dumps(value, default=str)


def _times(count: int, seconds: pa.Array | None) -> pa.Array:
    if seconds is None:
        return pa.nulls(count, TIME)
    micros = np.rint(seconds.cast(pa.float64()).fill_null(0).to_numpy() * 1e6).astype(np.int64)
    return pa.array(micros, mask=np.array(seconds.is_null())).cast(TIME)


def _taken(column: pa.Array, index: Index) -> pa.Array:
    if column.null_count:
        return column.take(pa.array(index))
    numbers = column.view(pa.int64()).to_numpy()  # a few times as fast as Arrow's own
    return pa.array(numbers[index]).view(column.type)


def _constant(text: str, count: int) -> pa.Array:
    """At most BATCH_ROWS times the same text."""
    return pa.DictionaryArray.from_arrays(ZEROS.slice(0, count), pa.array([text], TEXT))
